import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rmdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { spaceHint } from '../../src/errors.ts';
import { mountsBelow } from '../../src/kernel/mount.ts';
import type { FileSpec } from '../support/estargz-blob.ts';
import { run } from '../support/program.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { serveImage } from '../support/served-image.ts';
import { Workspace } from '../support/workspace.ts';
import { until } from '../support/until.ts';

const main = fileURLToPath(new URL('../../src/bin/lazypull.ts', import.meta.url));

const dir = (path: string): FileSpec => ({ path, type: 'dir', mode: 0o755 });
const file = (path: string, content: Buffer): FileSpec => ({ path, type: 'reg', mode: 0o4755, content });
const large = randomBytes(3_000_000);
const layers: FileSpec[][] = [
  [dir('.'), dir('etc'), file('etc/kept', Buffer.from('lower')), file('etc/gone', Buffer.from('x'))],
  [
    dir('.'),
    dir('etc'),
    file('etc/.wh.gone', Buffer.alloc(0)),
    file('etc/upper', Buffer.from('upper')),
    file('large', large),
  ],
];

let workspace: Workspace;
let registry: TestRegistry;
const started: Mounted[] = [];

before(async () => {
  workspace = await Workspace.open('lp-mount');
  registry = await startRegistry();
  serveImage(registry, 'app', layers);
});
after(async () => {
  for (const each of started) {
    each.process.kill('SIGKILL'); // one that a failed test has left
    await each.ended;
  }
  await registry[Symbol.asyncDispose]();
  await workspace[Symbol.asyncDispose]();
});

/** A `lazypull mount --json` with a temporary directory of its own. */
class Mounted {
  readonly directory: string;
  readonly temporary: string;
  readonly process: ChildProcess;
  readonly ended: Promise<[number | null, NodeJS.Signals | null]>;
  output = '';
  errors = '';

  static async start(
    name: string,
    image: string,
    flags: readonly string[] = [],
    directory = join(workspace.path, name),
    temporary = join(workspace.path, `${name}-tmp`),
  ): Promise<Mounted> {
    await mkdir(temporary, { recursive: true });
    const mounted = new Mounted(directory, temporary, image, flags);
    started.push(mounted);
    return mounted;
  }

  private constructor(directory: string, temporary: string, image: string, flags: readonly string[]) {
    this.directory = directory;
    this.temporary = temporary;
    const args = [main, 'mount', '--json', ...flags, `${registry.host}/${image}`, directory];
    const env = { ...process.env, TMPDIR: temporary };
    this.process = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.process.stdout!.on('data', (data: Buffer) => (this.output += data.toString()));
    this.process.stderr!.on('data', (data: Buffer) => (this.errors += data.toString()));
    this.ended = once(this.process, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  }

  async until(isSo: () => boolean): Promise<void> {
    const look = (): boolean => isSo() || (assert.equal(this.process.exitCode, null, this.errors), false);
    await until(look, () => `${this.output}${this.errors}`);
  }

  get events(): Record<string, unknown>[] {
    return this.output
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  has(event: string): boolean {
    return this.events.some((each) => each['event'] === event);
  }

  async assertNothingLeft(): Promise<void> {
    assert.deepEqual(await mountsBelow(this.directory), []);
    assert.deepEqual(await mountsBelow(this.temporary), []);
    assert.deepEqual(await readdir(this.temporary), []);
  }
}

test('lazypull mount shows an image as a directory, fetches what is read, and leaves nothing behind', async () => {
  registry.resetCounts();
  const mount = await Mounted.start('image', 'app:1');
  await mount.until(() => mount.has('mounted'));
  assert.deepEqual(await readdir(join(mount.directory, 'etc')), ['kept', 'upper']);
  assert.equal(await readFile(join(mount.directory, 'etc/kept'), 'utf8'), 'lower');
  assert.ok(registry.bytes < large.length, 'the large file was fetched, and nobody has read it');
  assert.ok((await readFile(join(mount.directory, 'large'))).equals(large));
  const [line] = (await readFile('/proc/self/mounts', 'utf8'))
    .split('\n')
    .filter((each) => each.includes(` ${mount.directory} `));
  assert.match(line ?? '', / overlay ro,nosuid,nodev,/);
  const devices = ['.', 'etc', 'etc/kept', 'etc/upper', 'large'].map(
    (path) => statSync(join(mount.directory, path)).dev,
  );
  assert.equal(new Set(devices).size, 1, 'programs that stay on one file system pass over a part');
  await mount.until(() => mount.events.some(({ presentBytes }) => Number(presentBytes) >= large.length));
  mount.process.kill('SIGINT');
  assert.deepEqual(await mount.ended, [0, null]);
  assert.deepEqual(mount.events.at(-1), { event: 'unmounted', directory: mount.directory, idle: true });
  assert.ok(!existsSync(mount.directory), 'it had made the directory');
  await mount.assertNothingLeft();
});

test('lazypull mount mounts many layers at one time, none in the way of another', async () => {
  const names = Array.from({ length: 40 }, (_, i) => `file-${i}`);
  serveImage(
    registry,
    'many',
    names.map((name) => [dir('.'), file(name, Buffer.from(name))]),
  );
  const mount = await Mounted.start('many', 'many:1');
  await mount.until(() => mount.has('mounted'));
  assert.deepEqual((await readdir(mount.directory)).toSorted(), names.toSorted());
  mount.process.kill('SIGTERM');
  assert.deepEqual(await mount.ended, [0, null]);
  await mount.assertNothingLeft();
});

test('lazypull mount shows an image without layers as an empty directory', async () => {
  serveImage(registry, 'nothing', []);
  const mount = await Mounted.start('nothing', 'nothing:1');
  await mount.until(() => mount.has('mounted'));
  assert.deepEqual(await readdir(mount.directory), []);
  mount.process.kill('SIGTERM');
  assert.deepEqual(await mount.ended, [0, null]);
  await mount.assertNothingLeft();
});

test('lazypull mount names the directory that has no space for the layers', async (t) => {
  const full = join(workspace.path, 'full');
  await mkdir(full);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'lazypull-test', full]);
  t.after(() => run('umount', [full]));
  await run('sh', ['-c', 'cat /dev/zero > "$0/zeros" || true', full]);
  const mount = await Mounted.start('no-space', 'app:1', ['--root', full]);
  assert.deepEqual(await mount.ended, [1, null]);
  assert.equal(
    mount.errors.replace(/: ENOSPC: .*/, ': ENOSPC'),
    `lazypull: Cannot keep layers in "${full}": ENOSPC\nhint: ${spaceHint}\n`,
  );
  await mount.assertNothingLeft();
});

test('lazypull ls and cat show what overlayfs does of the same layers', async () => {
  const odd: FileSpec[][] = [
    [
      dir('.'),
      ...['kept', 'kept/deep', 'gone', 'opaque', 'opaque/sub', 'turns', 'both'].map(dir),
      ...['kept/a', 'kept/deep/b', 'gone/a', 'opaque/a', 'opaque/sub/a', 'turns/a', 'both/a', 'file'].map((path) =>
        file(path, Buffer.from(`lower ${path}`)),
      ),
      { path: 'link', type: 'symlink', mode: 0o777, linkTarget: 'kept/deep' },
      { path: 'hard', type: 'hardlink', linkTarget: 'kept/a' },
      { path: 'dev', type: 'char', mode: 0o600, devMajor: 5, devMinor: 1 },
      { path: 'caf\xe9', type: 'fifo', mode: 0o600 },
    ],
    [
      dir('.'),
      { ...dir('both'), uid: 7, mode: 0o711 },
      dir('file'),
      ...['.wh.gone', 'opaque/.wh..wh..opq', 'kept/.wh.a', 'turns'].map((path) => file(path, Buffer.alloc(0))),
      file('opaque/b', Buffer.from('upper')),
      file('file/inside', Buffer.from('upper')),
      file('kept/deep/c', Buffer.from('upper')),
    ],
    [
      dir('.'),
      dir('gone'),
      file('gone/again', Buffer.from('top')),
      { ...dir('both'), uid: 8, mode: 0o701 },
      file('both/.wh.a', Buffer.alloc(0)),
    ],
  ];
  serveImage(registry, 'odd', odd);
  const mount = await Mounted.start('odd', 'odd:1');
  await mount.until(() => mount.has('mounted'));
  const found = await run('find', [mount.directory, '-mindepth', '1', '-printf', '/%P %04m %U %G %y%n %l\\0'], {
    encoding: 'latin1',
  });
  const image = `${registry.host}/odd:1`;
  const listed = (await run(process.execPath, [main, 'ls', '-R', '--json', image])).trimEnd().split('\n');
  const shown = listed.map((line) => {
    const { path, pathBase64, mode, uid, gid, links, target = '', type } = JSON.parse(line) as Record<string, string>;
    const bytes = Buffer.from(pathBase64 ?? path!, pathBase64 === undefined ? 'utf8' : 'base64').toString('latin1');
    return `${bytes} ${mode} ${uid} ${gid} ${type === 'dir' ? 'd' : links} ${target}`;
  });
  // overlayfs counts a directory's links in a way of its own.
  const seen = found.split('\0').map((line) => line.replace(/ d\d+ /, ' d ').replace(/ [a-z](\d+) /, ' $1 '));
  assert.deepEqual(shown.sort(), seen.slice(0, -1).sort());
  await Promise.all(
    ['opaque/b', 'link/c'].map(async (path) => {
      const content = await readFile(join(mount.directory, path), 'utf8');
      assert.equal(await run(process.execPath, [main, 'cat', image, path]), content);
    }),
  );
  mount.process.kill('SIGTERM');
  assert.deepEqual(await mount.ended, [0, null]);
});

test('lazypull mount keeps the layers if a root is given, and fills them if asked to', async () => {
  const root = join(workspace.path, 'root');
  const first = await Mounted.start('filled', 'app:1', ['--root', root, '--fill']);
  await first.until(() => first.events.some((each) => Number(each['presentBytes']) >= large.length + 10));
  first.process.kill('SIGTERM');
  assert.deepEqual(await first.ended, [0, null]);
  await first.assertNothingLeft();
  const second = await Mounted.start('again', 'app:1', ['--root', root]);
  await second.until(() => second.has('mounted'));
  registry.resetCounts();
  assert.ok((await readFile(join(second.directory, 'large'))).equals(large));
  assert.deepEqual(registry.requests, []);
  second.process.kill('SIGTERM');
  assert.deepEqual(await second.ended, [0, null]);
  await second.assertNothingLeft();
});

test('lazypull mount ends even while the directory is in use, and says so', async () => {
  const mount = await Mounted.start('used', 'app:1');
  await mount.until(() => mount.has('mounted'));
  const user = await open(join(mount.directory, 'large'));
  mount.process.kill('SIGINT');
  assert.deepEqual(await mount.ended, [0, null]);
  assert.match(mount.errors, /is still in use/);
  await mount.assertNothingLeft();
  await assert.rejects(user.read(Buffer.alloc(10), 0, 10, 2_000_000), { code: 'EIO' });
  await user.close();
});

test('lazypull mount that fails or is interrupted leaves nothing behind', async () => {
  serveImage(registry, 'plain', [layers[0]!, randomBytes(1000)]);
  const plain = await Mounted.start('plain', 'plain:1');
  assert.deepEqual(await plain.ended, [1, null]);
  assert.match(plain.errors, /Cannot read layer 2 of 2 of [^]*: Cannot read the tar archive at byte 0[^]*\nhint: /);
  await plain.assertNothingLeft();

  registry.resetCounts();
  registry.script({ path: /blobs/ }, { kind: 'stall', after: -1 }, { kind: 'stall', after: -1 });
  const stuck = await Mounted.start('stuck', 'app:1');
  await stuck.until(() => registry.count({ path: /blobs/ }) > 0);
  stuck.process.kill('SIGINT');
  assert.deepEqual(await stuck.ended, [130, null]);
  assert.ok(!existsSync(stuck.directory));
  await stuck.assertNothingLeft();
  registry.forgetFaults();
});

test('lazypull mount takes away what one that was killed has left, and mounts nothing on one that is there', async () => {
  const killed = await Mounted.start('killed', 'app:1');
  await killed.until(() => killed.has('mounted'));
  const [overlay] = await mountsBelow(killed.directory);
  assert.equal(overlay, killed.directory);
  assert.ok((await mountsBelow(killed.temporary)).length >= 2);

  const second = await Mounted.start('second', 'app:1', [], killed.directory);
  assert.deepEqual(await second.ended, [1, null]);
  assert.match(second.errors, new RegExp(`Cannot mount at ".*/killed": process ${killed.process.pid} has an image`));
  assert.deepEqual(await readdir(second.temporary), []);

  killed.process.kill('SIGKILL');
  await killed.ended;
  assert.equal((await mountsBelow(killed.directory)).length, 1);
  // Found by what is mounted at the directory, which this time has a symlink in its path, and another TMPDIR.
  await symlink(workspace.path, join(workspace.path, 'link'));
  const next = await Mounted.start('next', 'app:1', [], join(workspace.path, 'link', '.', 'killed'));
  await next.until(() => next.has('mounted'));
  assert.match(next.errors, /unmounted what a killed command had mounted: .*\/killed\n/);
  assert.equal((await mountsBelow(killed.directory)).length, 1);
  assert.deepEqual(await mountsBelow(killed.temporary), []);
  assert.deepEqual(await readdir(killed.temporary), []);
  assert.ok(large.equals(await readFile(join(killed.directory, 'large'))));

  next.process.kill('SIGKILL');
  await next.ended;
  // Found by its temporary directory, while another image is mounted elsewhere.
  const last = await Mounted.start('last', 'app:1', [], undefined, next.temporary);
  await last.until(() => last.has('mounted'));
  assert.deepEqual(await mountsBelow(killed.directory), []);
  last.process.kill('SIGHUP');
  assert.deepEqual(await last.ended, [0, null]);
  await last.assertNothingLeft();
});

test('lazypull check takes away what a lazypull mount that was killed has left', async () => {
  const mount = await Mounted.start('checked', 'app:1');
  await mount.until(() => mount.has('mounted'));
  mount.process.kill('SIGKILL');
  await mount.ended;
  assert.equal((await mountsBelow(mount.directory)).length, 1);
  const args = [main, 'check', '--root', join(workspace.path, 'checked-root')];
  const check = spawn(process.execPath, args, { env: { ...process.env, TMPDIR: mount.temporary }, stdio: 'ignore' });
  await once(check, 'exit'); // something else may be wrong here
  assert.deepEqual(await mountsBelow(mount.directory), []);
  await rmdir(mount.directory);
  await mount.assertNothingLeft();
});

test('lazypull mount takes temporary directories and directories of any name', async () => {
  const odd = join(workspace.path, 'o:d,d\\ d"ü');
  await mkdir(join(odd, 'tmp'), { recursive: true });
  await symlink(join(odd, 'tmp'), join(workspace.path, 'tmp-link'));
  const names = { directory: join(odd, 'at\\:,'), temporary: join(workspace.path, 'tmp-link') };
  const mount = await Mounted.start('names', 'app:1', ['--root', join(odd, 'root')], names.directory, names.temporary);
  await mount.until(() => mount.has('mounted'));
  assert.ok(large.equals(await readFile(join(mount.directory, 'large'))));
  assert.equal(await readFile(join(mount.directory, 'etc/upper'), 'utf8'), 'upper');
  mount.process.kill('SIGKILL');
  await mount.ended;
  assert.equal((await mountsBelow(mount.directory)).length, 1);

  const next = await Mounted.start('names', 'app:1', ['--root', join(odd, 'root')], names.directory, names.temporary);
  await next.until(() => next.has('mounted'));
  assert.equal((await mountsBelow(mount.directory)).length, 1);
  next.process.kill('SIGTERM');
  assert.deepEqual(await next.ended, [0, null]);
  await next.assertNothingLeft();
  assert.deepEqual(await mountsBelow(odd), []);
});

test('lazypull mount cleans up when its terminal is closed, which takes no word of it', async (t) => {
  const directory = join(workspace.path, 'closed');
  const temporary = join(workspace.path, 'closed-tmp');
  await mkdir(temporary);
  const command = `exec '${process.execPath}' '${main}' mount '${registry.host}/app:1' '${directory}'`;
  const terminal = spawn('script', ['-qfc', command, '/dev/null'], {
    env: { ...process.env, TMPDIR: temporary },
    stdio: 'ignore',
  });
  t.after(() => terminal.kill('SIGKILL'));
  await until(async () => (await mountsBelow(directory)).length === 1, 'it is not mounted');
  terminal.kill('SIGKILL');
  await until(async () => (await mountsBelow(workspace.path)).length === 0, 'something is mounted');
  await until(async () => (await readdir(temporary)).length === 0, 'something is left');
  assert.ok(!existsSync(directory));
});
