import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { mkdir, open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { errnoOf } from '../../../src/errors.ts';
import { abortDetached } from '../../../src/kernel/detached-mount.ts';
import { mountOverlay, mountTable, unmount } from '../../../src/kernel/mount.ts';
import { takeDescriptor } from '../../../src/kernel/pidfd.ts';
import { keeperRecord } from '../../support/attach.ts';
import { hasInherited, startDaemon } from '../../support/daemon.ts';
import { estargzBlob } from '../../support/estargz-blob.ts';
import { LayerLab, mountDisk } from '../../support/layer-lab.ts';
import { run, tryRun } from '../../support/program.ts';
import { SnapshotsClient } from '../../support/snapshots-client.ts';
import { repository } from '../../support/tools.ts';
import { keepersBelow, mountsBelow, Workspace } from '../../support/workspace.ts';
import { retried, until } from '../../support/until.ts';

const bytes = 1 << 20;
const lostMessage = /the FUSE connection was aborted/;

let lab: LayerLab;
/** The lines of the log that earlier tests have caused. */
let linesBefore = 0;

before(async () => {
  lab = await LayerLab.open('metrics_address = "127.0.0.1:0"\nno_background_fetch = true\nnoprefetch = true\n');
});
beforeEach(() => {
  lab.registry.forgetFaults();
  linesBefore = lab.daemon.log().length;
});
after(() => lab[Symbol.asyncDispose]());

/** An image of one layer, prepared, and what its file holds. Nothing of it has been read. */
async function image() {
  const content = randomBytes(bytes);
  const files = [0, 1, 2, 3].map((i) => ({ path: `file-${i}`, type: 'reg' as const, content }));
  const snapshot = await lab.prepare([lab.layer(estargzBlob(files, bytes))]);
  return {
    snapshot,
    /** Reads a file of a new view. */
    async check(index: number) {
      const root = await lab.mount(snapshot);
      assert.ok((await readFile(join(root, `file-${index}`))).equals(content));
      await lab.unmount(root);
    },
    /** Reads a file of a view that is mounted. */
    read: (root: string, index: number) => readFile(join(root, `file-${index}`)),
  };
}

async function abort(directory = lab.root): Promise<void> {
  const { keeper, fuse } = await keeperRecord(directory);
  const root = await takeDescriptor(keeper.pid, fuse.root!);
  await abortDetached(root);
  closeSync(root);
}

const said = (message: RegExp): boolean =>
  lab.daemon
    .log()
    .slice(linesBefore)
    .some(({ msg }) => message.test(String(msg)));

const lost = async (): Promise<number> =>
  (await lab.metrics()).get('lazypull_fuse_connections_lost_total') ?? Number.NaN;

async function statusCode(): Promise<number | null> {
  const { status } = await tryRun(join(repository, 'bin', 'lazypull'), ['status', '--address', lab.socket]);
  return status;
}

test('A connection that is aborted is noticed at once, and another one takes its place with all mounts', async () => {
  const [one, another] = [await image(), await image()];
  const used = await lab.mount(one.snapshot);
  await one.read(used, 0);
  const before = await lost();
  const [keeper] = await keepersBelow(lab.workspace.path);
  await abort();
  await until(() => said(lostMessage));
  await one.check(1);
  await another.check(0);
  assert.equal(await lost(), before + 1);
  assert.equal((await lab.metrics()).get('lazypull_fuse_connected'), 1);
  assert.equal(await statusCode(), 0);
  await assert.rejects(one.read(used, 2), { code: 'EIO' });
  await lab.unmount(used);
  await (await image()).check(0);
  assert.notEqual((await keepersBelow(lab.workspace.path))[0], keeper);
  await lab.crash();
  assert.equal(await hasInherited(lab.daemon), true);
  await one.check(2);
});

test('A layer that was removed while its mount was in use is given up when the connection has died', async () => {
  const mounted = async () => (await lab.metrics()).get('lazypull_layers_mounted');
  const before = await mounted();
  const { snapshot } = await image();
  const point = (await mountTable(lab.root)).at(-1)!.path;
  const file = await open(join(point, 'fs', 'file-0'));
  try {
    await lab.remove(snapshot, 1);
    await until(() => said(/a layer is in use and is unmounted lazily/));
    assert.equal(await mounted(), before! + 1);
    await abort();
    await until(async () => (await mounted()) === before);
  } finally {
    await file.close();
  }
});

test('A connection that was aborted while no daemon served is not inherited', async () => {
  const one = await image();
  await one.check(0);
  await lab.daemon.program.stop('SIGKILL');
  await abort();
  await lab.restart('SIGKILL');
  assert.ok(said(/cannot take over the FUSE connection of a process that ended/));
  assert.equal(await hasInherited(lab.daemon), false);
  await one.check(1);
  await (await image()).check(0);
});

test('While no connection can be made the health check, a metric and `lazypull status` say so, and all is well once one can', async () => {
  await using workspace = await Workspace.open('lp-cut');
  const directory = join(workspace.path, 'lp');
  const toml = 'metrics_address = "127.0.0.1:0"\n';
  await using daemon = await startDaemon(directory, 'info', toml, {}, ['unshare', '--mount', '--']);
  const port = daemon.log().find(({ msg }) => msg === 'serving metrics')?.['port'];
  const health = async () => (await fetch(`http://127.0.0.1:${String(port)}/healthz`)).status;
  const inside = (...command: string[]) => run('nsenter', ['-t', String(daemon.program.pid), '-m', ...command]);
  const status = () => tryRun(join(repository, 'bin', 'lazypull'), ['status', '--address', daemon.socket]);
  using client = new SnapshotsClient(daemon.socket);
  await until(async () => (await health()) === 200);
  assert.equal(await client.isServing(), true);
  await inside('mount', '--bind', '/dev/null', '/dev/fuse');
  await abort(daemon.root);
  await until(async () => (await health()) === 503);
  assert.equal(await client.isServing(), false);
  const cut = await status();
  assert.equal(cut.status, 1);
  assert.match(cut.stdout, /^PROBLEM: The FUSE connection was aborted, and another one cannot be made: /m);
  await inside('umount', '/dev/fuse');
  await until(async () => (await health()) === 200);
  assert.equal(await client.isServing(), true);
  assert.equal((await status()).status, 0);
});

test('A helper that is killed is noticed, and what it was asked for is done all the same', async () => {
  const { pid } = lab.daemon.program;
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).split(' ').filter(Boolean);
  for (const child of children) {
    const command = await readFile(`/proc/${child}/cmdline`, 'utf8');
    if (command.includes('mount-helper-process')) process.kill(Number(child), 'SIGKILL');
  }
  await (await image()).check(0);
  assert.ok(said(/the mount helper has ended/));
});

test('Connections that are aborted again and again, beside readers and clients, end in the right bytes', async () => {
  const one = await image();
  for (let round = 0; round < 6; round++) {
    const before = await lost();
    const preparing = image();
    await abort();
    await (await preparing).check(0);
    await one.check(round % 4);
    await until(async () => (await lost()) === before + 1);
  }
  assert.equal(await statusCode(), 0);
});

/** What others do to a layer's mount: `point` is where it is mounted, and the layer's tree is `fs` in it. */
const disturbances: Record<string, (point: string, another: string) => Promise<unknown>> = {
  umount: (point) => run('umount', [point]),
  'umount -l': (point) => run('umount', ['-l', point]),
  'something else mounted on top': (point) => run('mount', ['-t', 'tmpfs', 'none', point]),
  'something else mounted on the tree': (point) => run('mount', ['-t', 'tmpfs', 'none', join(point, 'fs')]),
  'another layer in its place': async (point, another) => {
    await run('umount', [point]);
    await run('mount', ['--bind', another, point]);
  },
  'two things mounted on top': async (point) => {
    await run('mount', ['-t', 'tmpfs', 'none', point]);
    await run('mount', ['--bind', '/proc/self', point]);
  },
};

for (const [name, disturb] of Object.entries(disturbances)) {
  test(`After ${name} a client that asks for a layer gets it all the same`, async () => {
    const [other, one] = [await image(), await image()];
    const [another, point] = (await mountTable(lab.root)).slice(-2).map(({ path }) => path);
    await disturb(point!, another!);
    await one.check(0);
    assert.ok(said(/another program has unmounted a layer/));
    await other.check(0);
    await disturb(point!, another!);
    await lab.crash();
    await one.check(1);
  });

  test(`After ${name} a layer is mounted again though no client asks`, async () => {
    const [other, one] = [await image(), await image()];
    const [another, point] = (await mountTable(lab.root)).slice(-2).map(({ path }) => path);
    const names = () => readdir(join(point!, 'fs')).catch(() => []);
    for (let round = 0; round < 3; round++) {
      await disturb(point!, another!);
      await until(async () => (await names()).length === 4 && (await mountsBelow(point!)).length === 1);
    }
    await one.check(0);
    await other.check(0);
  });
}

test('A client that mounts what it was told before, while others unmount the layer, gets the layer or an error, and never an empty tree', async () => {
  const one = await image();
  const point = (await mountTable(lab.root)).at(-1)!.path;
  const lower = [join(point, 'fs'), lab.workspace.path];
  const target = join(lab.workspace.path, 'remembered');
  await mkdir(target);
  const ending = new AbortController();
  const unmounting = (async () => {
    for (let i = 0; !ending.signal.aborted; i++) await tryRun('umount', [i % 2 === 0 ? '-l' : '-f', point]);
  })();
  const counts = { layers: 0, errors: 0 };
  try {
    for (let i = 0; i < 300 || counts.layers === 0 || counts.errors === 0; i++) {
      assert.ok(i < 10_000, JSON.stringify(counts));
      try {
        await mountOverlay(lower, target);
      } catch {
        counts.errors++;
        continue;
      }
      const names = await readdir(target);
      // A program that looks at all mounts of the machine may keep it busy for a moment.
      await retried(
        () => unmount(target),
        (error) => error instanceof Error && errnoOf(error.cause) === 'EBUSY',
      );
      assert.ok(names.includes('file-0'), `${i}: ${names.join()}`);
      counts.layers++;
    }
  } finally {
    ending.abort();
    await unmounting;
  }
  await one.check(0);
});

test('After all of the tree was unmounted everything is lazy again without a restart', async () => {
  const images = [await image(), await image(), await image()];
  for (const point of await mountsBelow(lab.root)) await run('umount', ['-l', point]);
  for (const each of images) await each.check(0);
  await (await image()).check(0);
});

test('While the root directory is unmounted no client is told of an empty one, and all is well when it is mounted again', async () => {
  let image = '';
  await using own = await LayerLab.open('', async (root) => {
    image = `${root}.ext4`;
    await mountDisk(root, 256 << 20, image);
  });
  const content = randomBytes(1000);
  const blob = estargzBlob([{ path: 'file', type: 'reg', content }], bytes);
  const snapshot = await own.prepare([own.layer(blob)]);
  await run('umount', ['-l', own.root]);
  await assert.rejects(own.mount(snapshot), /is not the directory that it was when lazypull started: mount it again/);
  const status = await tryRun(join(repository, 'bin', 'lazypull'), ['status', '--address', own.socket]);
  assert.equal(status.status, 1);
  assert.match(status.stdout, /^PROBLEM: .*is not the directory that it was/m);
  assert.deepEqual(await readdir(own.root), []);
  await run('mount', ['-o', 'loop', image, own.root]);
  const view = await own.mount(snapshot);
  assert.deepEqual(await readFile(join(view, 'file')), content);
  await own.unmount(view);
});
