import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type ErrorCode, LazypullError, codeOf } from '../../../src/errors.ts';
import { estargz } from '../../../src/formats/estargz/format.ts';
import { type LayerOrigin, ofToc } from '../../../src/layers/layer-origin.ts';
import type { LayerRef } from '../../../src/layers/resolve/layer-ref.ts';
import type { Refusal } from '../../../src/layers/resolve/refusal.ts';
import { type Log, silentLog } from '../../../src/log.ts';
import type { RemoteLayers } from '../../../src/snapshots/remote-layers.ts';
import { asRefusal } from '../../../src/layers/resolve/refusal-reason.ts';
import type { Mount, Prepared } from '../../../src/snapshots/snapshot.ts';
import { type Snapshotter, openSnapshotter } from '../../../src/snapshots/snapshotter.ts';
import { fakeImage } from '../../support/fake-image.ts';

const reference = 'containerd.io/snapshot/remote/stargz.reference';
const digest = 'containerd.io/snapshot/remote/stargz.digest';
const lazy = (target: string, more: Record<string, string> = {}) => ({
  'containerd.io/snapshot.ref': target,
  [reference]: 'registry/image:tag',
  [digest]: `sha256:of-${target}`,
  ...more,
});

describe('an ordinary snapshot', () => {
  it('is prepared, committed, viewed and removed', async (t) => {
    const { snapshotter, directory, settle } = await start(t);
    const [mount] = await mountsOf(snapshotter.prepare('a', '', { x: '1' }));
    assert.deepEqual(mount, { type: 'bind', source: join(directory, '1/fs'), options: ['rw', 'rbind'] });
    assert.equal(statSync(join(directory, '1/fs')).mode & 0o7777, 0o755);
    assert.equal(statSync(join(directory, '1/work')).mode & 0o7777, 0o711);
    assert.deepEqual(await snapshotter.mounts('a'), [mount]);
    snapshotter.commit('c', 'a', '', { y: '2' });
    assert.deepEqual(snapshotter.stat('c').labels, { y: '2' });
    await rejectsCode('FailedPrecondition', snapshotter.mounts('c'));
    await rejectsCode('NotFound', snapshotter.mounts('a'));
    assert.deepEqual(await snapshotter.view('v', 'c', {}), [
      { type: 'bind', source: join(directory, '1/fs'), options: ['ro', 'rbind'] },
    ]);
    assert.ok(!existsSync(join(directory, '2/work')));
    snapshotter.remove('v');
    snapshotter.remove('c');
    await settle();
    assert.deepEqual(readdirSync(directory), []);
  });

  it('leaves nothing behind when it cannot be made', async (t) => {
    const { snapshotter, directory, layers } = await start(t);
    await rejectsCode('NotFound', snapshotter.prepare('a', 'absent', {}));
    await remote(snapshotter, 'k', '', lazy('r'));
    layers.broken.add('sha256:of-r');
    const before = readdirSync(directory);
    await assert.rejects(
      snapshotter.prepare('a', 'r', {}),
      /^LazypullError: layer "1" unavailable: broken sha256:of-r$/,
    );
    await rejectsCode('Unavailable', snapshotter.view('v', 'r', {}));
    assert.deepEqual(readdirSync(directory), before);
    assert.deepEqual(
      (await Array.fromAsync(snapshotter.list([]))).map(({ name }) => name),
      ['r'],
    );
    layers.broken.clear();
    await Promise.allSettled(Array.from({ length: 20 }, () => snapshotter.prepare('same', 'r', {})));
    assert.equal(readdirSync(directory).length, 2);
  });

  it('counts its own content, a committed one only once', async (t) => {
    const { snapshotter, directory } = await start(t);
    await snapshotter.prepare('a', '', {});
    const empty = await snapshotter.usage('a');
    writeFileSync(join(directory, '1/fs/file'), Buffer.alloc(100_000, 1));
    const active = await snapshotter.usage('a');
    assert.equal(active.inodes, 2);
    assert.ok(active.bytes >= empty.bytes + 100_000);
    snapshotter.commit('c', 'a', '', {});
    assert.deepEqual(await snapshotter.usage('c'), active);
    writeFileSync(join(directory, '1/fs/late'), '');
    assert.deepEqual(await snapshotter.usage('c'), active);
    await snapshotter.view('v', 'c', {});
    assert.deepEqual(await snapshotter.usage('v'), { inodes: 0, bytes: 0 });
    await rejectsCode('NotFound', snapshotter.usage('absent'));
  });
});

describe('a remote snapshot', () => {
  it('counts what its layer takes, and what it may come to if the client keeps the first answer', async (t) => {
    const { snapshotter } = await start(t);
    await remote(snapshotter, 'k', '', lazy('r'));
    for (const namespace of [undefined, '', 'default', 'moby', 'buildkit']) {
      assert.deepEqual(await snapshotter.usage('r', namespace), { inodes: 8, bytes: 1000 });
    }
    assert.deepEqual(await snapshotter.usage('r', 'k8s.io'), { inodes: 8, bytes: 9000 });
  });

  it('is committed under its target, and the key does not remain', async (t) => {
    const { snapshotter, directory, layers, lines } = await start(t);
    await remote(snapshotter, 'k', '', lazy('r', { other: 'label' }));
    const info = snapshotter.stat('r');
    assert.equal(info.kind, 'committed');
    assert.deepEqual(info.labels, {
      ...lazy('r', { other: 'label' }),
      'containerd.io/snapshot/remote': 'remote snapshot',
    });
    assert.deepEqual([...layers.mounted.keys()], [join(directory, '1/fs')]);
    assert.throws(
      () => snapshotter.stat('k'),
      (error) => codeOf(error) === 'NotFound',
    );
    const [line] = lines.filter((entry) => entry.level === 'info');
    assert.equal(line?.['remote-snapshot-prepared'], 'true');
    assert.equal(line?.target, 'r');
  });

  it('is found by the filter of containerd', async (t) => {
    const { snapshotter } = await start(t);
    await remote(snapshotter, 'k1', '', lazy('sha256:1'));
    await remote(snapshotter, 'k2', 'sha256:1', lazy('sha256:2'));
    const found = async (filter: string) => (await Array.fromAsync(snapshotter.list([filter]))).map(({ name }) => name);
    assert.deepEqual(await found('labels."containerd.io/snapshot.ref"==sha256:2,parent=="sha256:1"'), ['sha256:2']);
    assert.deepEqual(await found('labels."containerd.io/snapshot.ref"==sha256:1,parent==""'), ['sha256:1']);
    assert.deepEqual(await found('labels."containerd.io/snapshot.ref"==sha256:2,parent==""'), []);
  });

  it('is not mounted twice', async (t) => {
    const { snapshotter, layers } = await start(t);
    await remote(snapshotter, 'k', '', lazy('r'));
    await remote(snapshotter, 'k', '', lazy('r'));
    assert.equal(layers.mounts, 1);
  });

  it('is an ordinary one when it cannot be lazy, with one line that says why', async (t) => {
    const { snapshotter, directory, layers, lines } = await start(t);
    await remote(snapshotter, 'k', '', lazy('base'));
    layers.refused.add('sha256:of-r');
    const [mount] = await mountsOf(snapshotter.prepare('k', 'base', lazy('r')));
    assert.equal(mount?.type, 'overlay');
    assert.equal(snapshotter.stat('k').kind, 'active');
    assert.deepEqual(readdirSync(directory).sort(), ['1', '3']);
    const [warning, ...more] = lines.filter((entry) => entry.level === 'warn');
    assert.deepEqual(more, []);
    assert.deepEqual(warning, {
      level: 'warn',
      message: 'failed to prepare remote snapshot',
      key: 'k',
      parent: 'base',
      reason: 'other',
      reference: 'registry/image:tag',
      digest: 'sha256:of-r',
      error: 'refused sha256:of-r',
      'remote-snapshot-prepared': 'false',
    });
    await rejectsCode('AlreadyExists', snapshotter.prepare('k', 'base', lazy('r')));
    assert.equal(layers.mounted.size, 1);
  });

  it('is an ordinary one at once when its labels say that it cannot be lazy', async (t) => {
    const { snapshotter, directory, layers, lines } = await start(t);
    layers.hopeless.add('sha256:of-r');
    layers.mount = () => assert.fail('nothing is mounted');
    layers.unmount = () => assert.fail('nothing is unmounted');
    const [mount] = await mountsOf(snapshotter.prepare('k', '', lazy('r')));
    assert.equal(mount?.source, join(directory, '1/fs'));
    const errors = lines.filter((entry) => entry.level === 'warn').map(({ error }) => error);
    assert.deepEqual(errors, ['hopeless sha256:of-r']);
    assert.deepEqual(
      snapshotter.outcomes.list([]).map(({ message }) => message),
      ['hopeless sha256:of-r'],
    );
  });

  it('is an ordinary one when an overlay would show it as something else than unpacking', async (t) => {
    const { snapshotter, layers, lines } = await start(t);
    await remote(snapshotter, 'k', '', lazy('base'));
    await remote(snapshotter, 'k', 'base', lazy('middle'));
    layers.misfits.add('sha256:of-top');
    assert.equal((await mountsOf(snapshotter.prepare('k', 'middle', lazy('top')))).length, 1);
    const errors = lines.filter((entry) => entry.level === 'warn').map(({ error }) => error);
    assert.deepEqual(errors, ['sha256:of-top does not fit on sha256:of-middle,sha256:of-base']);
    assert.equal(layers.mounted.size, 2);
  });

  it('is an ordinary one when its name belongs to something else', async (t) => {
    const { snapshotter, layers } = await start(t);
    await snapshotter.prepare('active', '', {});
    assert.equal((await mountsOf(snapshotter.prepare('k1', '', lazy('active')))).length, 1);
    await remote(snapshotter, 'k', '', lazy('r'));
    assert.equal((await mountsOf(snapshotter.prepare('k2', 'r', lazy('r')))).length, 1);
    assert.equal(layers.mounts, 1);
  });

  it('survives a race: one wins, all are told that it is ready', async (t) => {
    const { snapshotter, directory, layers } = await start(t);
    layers.delayMs = 5;
    await Promise.all(Array.from({ length: 20 }, (_, i) => remote(snapshotter, `k${i}`, '', lazy('r'))));
    assert.equal(layers.mounts, 20);
    assert.equal(layers.mounted.size, 1);
    const [winner] = readdirSync(directory);
    assert.equal(readdirSync(directory).length, 1);
    assert.deepEqual([...layers.mounted.keys()], [join(directory, winner ?? '', 'fs')]);
    assert.equal((await Array.fromAsync(snapshotter.list([]))).length, 1);
  });

  it('goes when its parent went while it was mounted', async (t) => {
    const { snapshotter, layers, directory, settle } = await start(t);
    await remote(snapshotter, 'k', '', lazy('base'));
    layers.delayMs = 20;
    const preparing = rejectsCode('NotFound', snapshotter.prepare('k', 'base', lazy('r')));
    await delay(5);
    snapshotter.remove('base');
    await preparing;
    await settle();
    assert.deepEqual(readdirSync(directory), []);
    assert.equal(layers.mounted.size, 0);
  });

  it('is unmounted and then removed, never removed through a mount', async (t) => {
    const { snapshotter, directory, layers, settle } = await start(t);
    await remote(snapshotter, 'k', '', lazy('r'));
    await remote(snapshotter, 'k', 'r', lazy('r2'));
    await rejectsCode('FailedPrecondition', async () => snapshotter.remove('r'));
    snapshotter.remove('r2');
    snapshotter.remove('r');
    await settle();
    assert.deepEqual(readdirSync(directory), []);
    assert.equal(layers.mounted.size, 0);
  });
});

describe('a restart', () => {
  it('mounts every remote snapshot again and removes what an interrupted call left', async (t) => {
    const first = await start(t);
    await remote(first.snapshotter, 'k', '', lazy('r1'));
    await remote(first.snapshotter, 'k', 'r1', lazy('r2'));
    await first.snapshotter.prepare('a', 'r2', {});
    await first.snapshotter.close();
    await first.snapshotter.close();
    assert.equal(first.layers.mounted.size, 0);
    assert.throws(
      () => first.snapshotter.stat('a'),
      (error) => codeOf(error) === 'Unavailable',
    );
    mkdirSync(join(first.directory, '77/fs'), { recursive: true });
    mkdirSync(join(first.directory, '76/work/work'), { recursive: true });
    mkdirSync(join(first.directory, '74'));

    const second = await start(t, first.root);
    assert.equal(second.layers.mounted.size, 2);
    assert.equal((await second.snapshotter.mounts('a')).length, 1);
    await second.settle();
    assert.deepEqual(readdirSync(second.directory).sort(), ['1', '2', '3']);
    await second.snapshotter.prepare('b', '', {});
    assert.ok(existsSync(join(second.directory, '78/fs')));
  });

  it('leaves alone what holds something and has no record, and what is not its own', async (t) => {
    const { directory, root, snapshotter } = await start(t);
    await snapshotter.close();
    const kept = ['12/fs/file', '13/work/work/file', '14/file', 'new-1/file', 'lost+found/file'];
    for (const path of kept) {
      mkdirSync(join(directory, dirname(path)), { recursive: true });
      writeFileSync(join(directory, path), '');
    }
    mkdirSync(join(directory, 'empty'));

    const second = await start(t, root);
    await second.settle();
    await second.settle();
    for (const path of kept) assert.ok(existsSync(join(directory, path)), path);
    assert.ok(existsSync(join(directory, 'empty')));
    const warnings = second.lines.filter(({ level }) => level === 'warn');
    assert.deepEqual(
      warnings.map(({ snapshots }) => snapshots),
      [['12', '13', '14']],
    );
    await second.snapshotter.prepare('a', '', {});
    assert.ok(existsSync(join(directory, '15/fs')));
  });

  it('removes with all its files what a client removed before it ended', async (t) => {
    const first = await start(t);
    for (const name of ['a', 'b']) {
      await first.snapshotter.prepare(name, '', {});
      first.snapshotter.commit(`c-${name}`, name, '', {});
    }
    writeFileSync(join(first.directory, '1/fs/file'), '');
    writeFileSync(join(first.directory, '2/fs/file'), '');
    first.snapshotter.remove('c-a');
    await first.snapshotter.leave();
    assert.ok(existsSync(join(first.directory, '1/fs/file')));

    const second = await start(t, first.root);
    await second.settle();
    assert.deepEqual(readdirSync(second.directory), ['2']);
    second.snapshotter.remove('c-b');
    await second.settle();
    assert.deepEqual(readdirSync(second.directory), []);
  });

  it('unmounts and removes nothing beside the next one that it hands over to', async (t) => {
    const first = await start(t);
    await remote(first.snapshotter, 'k', '', lazy('r'));
    await first.settle();
    first.snapshotter.remove('r');
    await first.snapshotter.leave();
    await delay(20);
    assert.equal(first.layers.mounted.size, 1);
    assert.deepEqual(readdirSync(first.directory), ['1']);
    assert.deepEqual(
      first.lines.filter(({ level }) => level === 'warn'),
      [],
    );

    const second = await start(t, first.root);
    await second.settle();
    assert.deepEqual(readdirSync(second.directory), []);
  });

  it('keeps going when a layer cannot be mounted, and mounts it when it can', async (t) => {
    const first = await start(t);
    for (let i = 0; i < 40; i++) await remote(first.snapshotter, 'k', '', lazy(`r${i}`));
    await first.snapshotter.prepare('a', 'r7', {});
    await first.snapshotter.prepare('b', 'r8', {});
    await first.snapshotter.close();

    const layers = new FakeLayers();
    for (const n of [7, 8]) layers.refused.add(`sha256:of-r${n}`);
    const { snapshotter, lines } = await start(t, first.root, layers);
    assert.equal(layers.mounted.size, 38);
    assert.ok(layers.mostAtOnce <= 16);
    await delay(20);
    assert.equal(lines.filter(({ message }) => message === 'failed to restore remote snapshot').length, 2);
    assert.equal(snapshotter.stat('r7').kind, 'committed');
    await rejectsCode('Unavailable', snapshotter.mounts('a'));
    await assert.rejects(snapshotter.prepare('c', 'r7', {}), /layer "8" unavailable: refused sha256:of-r7/);

    layers.refused.clear();
    await remote(snapshotter, 'k', '', lazy('r7'));
    assert.equal((await snapshotter.mounts('a')).length, 1);
    await rejectsCode('Unavailable', snapshotter.mounts('b'));
    await delay(20);
    assert.equal((await snapshotter.mounts('b')).length, 1);
  });

  it("refuses another program's root", async (t) => {
    const root = temporaryRoot(t);
    mkdirSync(join(root, 'snapshotter'));
    writeFileSync(join(root, 'snapshotter/metadata.db'), '');
    await rejectsCode('FailedPrecondition', openSnapshotter({ root, layers: new FakeLayers(), log: silentLog }));
  });
});

/** Layers without a kernel: a mount is an entry of a map. */
class FakeLayers implements RemoteLayers {
  readonly mounted = new Map<string, string>();
  readonly refused = new Set<string>();
  readonly hopeless = new Set<string>();
  readonly broken = new Set<string>();
  readonly misfits = new Set<string>();
  delayMs = 0;
  mounts = 0;
  mostAtOnce = 0;
  #atOnce = 0;

  resolve(labels: Readonly<Record<string, string>>): LayerRef | Refusal {
    const name = labels[digest] ?? '';
    const id = { digest: name, index: name };
    return { id, format: estargz, image: fakeImage('a:1'), siblings: [], prefetchBytes: undefined };
  }

  refusalOf({ id }: LayerRef): Refusal | undefined {
    return this.hopeless.has(id.digest) ? asRefusal(new Error(`hopeless ${id.digest}`)) : undefined;
  }

  async mount(mountpoint: string, layer: LayerRef, signal?: AbortSignal): Promise<LayerOrigin> {
    const name = layer.id.digest;
    assert.deepEqual(readdirSync(mountpoint), []);
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#atOnce);
    await delay(this.delayMs);
    this.#atOnce--;
    signal?.throwIfAborted();
    if (this.refused.has(name)) throw new Error(`refused ${name}`);
    assert.ok(!this.mounted.has(mountpoint));
    this.mounted.set(mountpoint, name);
    this.mounts++;
    return ofToc;
  }

  async restore(mountpoint: string, layer: LayerRef): Promise<void> {
    await this.unmount(mountpoint);
    await this.mount(mountpoint, layer);
  }

  async usage(mountpoint: string) {
    assert.ok(this.mounted.has(mountpoint));
    return { inodes: 8, bytes: 1000, mostBytes: 9000 };
  }

  async checkStacking(mountpoint: string, lower: readonly string[]): Promise<void> {
    const name = this.mounted.get(mountpoint) ?? '';
    if (this.misfits.has(name))
      throw new Error(`${name} does not fit on ${lower.map((path) => this.mounted.get(path)).join()}`);
  }

  async check(mountpoint: string): Promise<void> {
    const name = this.mounted.get(mountpoint);
    if (name === undefined || this.broken.has(name)) throw new LazypullError('Unavailable', `broken ${name}`);
  }

  async unmount(mountpoint: string): Promise<void> {
    this.mounted.delete(mountpoint);
  }
}

async function start(t: TestContext, root = temporaryRoot(t), layers = new FakeLayers()) {
  const lines: Record<string, unknown>[] = [];
  const line = (level: string) => (fields: object, message: string) => void lines.push({ level, message, ...fields });
  const log: Log = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
  const snapshotter = await openSnapshotter({ root, layers, log });
  await snapshotter.restore();
  t.after(() => snapshotter.close());
  return {
    root,
    layers,
    lines,
    snapshotter,
    directory: join(root, 'snapshotter/snapshots'),
    settle: () => snapshotter.cleanup(),
  };
}

function temporaryRoot(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), 'snapshotter-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

async function mountsOf(preparing: Promise<Prepared>): Promise<readonly Mount[]> {
  const prepared = await preparing;
  assert.ok('mounts' in prepared);
  return prepared.mounts;
}

async function remote(
  snapshotter: Snapshotter,
  key: string,
  parent: string,
  labels: Record<string, string>,
): Promise<void> {
  assert.ok('ready' in (await snapshotter.prepare(key, parent, labels)));
  assert.equal(snapshotter.stat(labels['containerd.io/snapshot.ref'] ?? '').kind, 'committed');
}

async function rejectsCode(code: ErrorCode, promise: Promise<unknown> | (() => Promise<unknown>)): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.equal(codeOf(error), code, String(error));
    return true;
  });
}
