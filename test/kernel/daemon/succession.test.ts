import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { detach, mountImage, mountTable } from '../../../src/kernel/mount.ts';
import { attachFuse, forgetRoot } from '../../support/attach.ts';
import { hasInherited } from '../../support/daemon.ts';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { run } from '../../support/program.ts';
import { SnapshotsClient } from '../../support/snapshots-client.ts';
import { repository } from '../../support/tools.ts';
import { keepersBelow, mountsBelow } from '../../support/workspace.ts';

const mib = 1 << 20;
const daemonProgram = join(repository, 'bin', 'containerd-stargz-grpc');
const stuckDaemon = fileURLToPath(new URL('../../support/stuck-daemon.ts', import.meta.url));

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open();
});
beforeEach(() => lab.registry.forgetFaults());
after(() => lab[Symbol.asyncDispose]());

/** A mounted layer of its own, of which nothing has been read, and a way to read its files. */
async function mountFiles() {
  const files = Array.from(
    { length: 4 },
    (_, i): FileSpec => ({ path: `file-${i}`, type: 'reg', content: randomBytes(3 * mib) }),
  );
  const layer = lab.layer(estargzBlob(files, mib));
  const snapshot = await lab.prepare([layer]);
  const root = await lab.mount(snapshot);
  return {
    layer,
    snapshot,
    root,
    read: async (index: number) => {
      const { path, content } = files[index]!;
      const data = await readFile(join(root, path));
      assert.ok(data.equals(content!), `${path} has other bytes`);
    },
    [Symbol.asyncDispose]: () => lab.unmount(root),
  };
}

/** The lines of the mount table that are of the lab, with the numbers of the mounts. */
async function mountLines(): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  return lines.filter((line) => line.includes(lab.workspace.path));
}

const messages = () => lab.complaints.map(({ msg }) => String(msg)).join('\n');

test('A daemon takes the place of a running one: the mounts stay, and readers and clients only wait', async () => {
  await using layer = await mountFiles();
  await layer.read(0);
  const mounts = await mountLines();
  const keepers = await keepersBelow(lab.workspace.path);
  const before = lab.daemon.program;
  lab.registry.script({ path: /blobs/ }, { kind: 'delay', ms: 3000 });
  const reading = layer.read(2);
  const { ready } = await lab.takeOver();
  const preparing = mountFiles(); // by a client that connects while no daemon serves
  await Promise.all([reading, ready]);
  await using another = await preparing;
  await another.read(0);
  assert.equal(before.outcome, 'ended with status 0');
  assert.deepEqual((await mountLines()).slice(0, mounts.length), mounts);
  assert.deepEqual(await keepersBelow(lab.workspace.path), keepers);
  for (const file of [0, 1, 2, 3]) await layer.read(file);
});

test('A keeper that ends is replaced, and the next one holds as well', async () => {
  await using layer = await mountFiles();
  const [keeper] = await keepersBelow(lab.workspace.path);
  process.kill(keeper!, 'SIGKILL');
  await until(async () => {
    const keepers = await keepersBelow(lab.workspace.path);
    return keepers.length === 1 && keepers[0] !== keeper;
  });
  assert.match(messages(), /the keeper of the mounts has ended/);
  const mounts = await mountLines();
  await lab.crash();
  assert.deepEqual(await mountLines(), mounts);
  for (const file of [0, 1, 2, 3]) await layer.read(file);
});

test('Without a keeper everything is mounted again, and earlier readers get errors instead of waiting', async () => {
  await using layer = await mountFiles();
  await layer.read(0);
  await lab.daemon.program.stop('SIGKILL');
  for (const keeper of await keepersBelow(lab.workspace.path)) process.kill(keeper, 'SIGKILL');
  const reading = assert.rejects(layer.read(3), { code: 'EIO' });
  await lab.restart('SIGKILL');
  await reading;
  assert.match(messages(), /the mounts of a daemon that ended have no keeper/);
  const root = await lab.mount(layer.snapshot);
  assert.equal((await readFile(join(root, 'file-3'))).length, 3 * mib);
  await lab.unmount(root);
});

test('While a killed daemon is away only readers of its data wait, and no program that looks at mounts, sizes or names', async () => {
  await using layer = await mountFiles();
  await layer.read(0);
  const [keeper] = await keepersBelow(lab.workspace.path);
  await lab.daemon.program.stop('SIGKILL');
  const reading = layer.read(3);
  const points = (await mountTable(lab.workspace.path)).map(({ path }) => path);
  assert.ok(points.includes(layer.root));
  for (const command of [
    ['df', '-a', ...points],
    ['stat', '-f', ...points],
    ['stat', ...points],
    ['findmnt', '-D', '--target', layer.root],
    ['find', lab.workspace.path, '-xdev'],
    ['du', '-x', lab.workspace.path],
    ['ls', '-lL', `/proc/${keeper}/fd`], // as lsof looks at the descriptors of all processes
  ]) {
    await run('timeout', ['-s', 'KILL', '20', ...command]);
  }
  assert.ok(points.every((path) => !path.endsWith('/fuse')));
  await lab.restart('SIGKILL');
  await reading;
  await layer.read(1);
});

test('A daemon goes on with what a version left that mounted the connection in a directory, and takes it out of there', async () => {
  await using layer = await mountFiles();
  await layer.read(0);
  const { root } = lab.daemon;
  const directory = join(root, 'fuse');
  await mkdir(directory);
  await attachFuse(root, directory);
  const own = (await mountTable(root)).filter(({ type }) => type === 'erofs').at(-1)!;
  const name = basename(own.source).replace(/^.*\./, '');
  const elsewhere = join(lab.workspace.path, 'elsewhere');
  await mkdir(elsewhere);
  await mountImage('erofs', join(directory, name), elsewhere);
  process.kill(lab.daemon.program.pid, 'SIGSTOP'); // it would mount the layer again
  await detach(own.path);
  await run('mount', ['--no-canonicalize', '--bind', elsewhere, own.path]);
  await detach(elsewhere);
  await lab.daemon.program.stop('SIGKILL');
  await forgetRoot(root);
  const reading = layer.read(2);
  const lines = (await mountLines()).filter((line) => !line.includes(' fuse.lazypull '));
  const [keeper] = await keepersBelow(lab.workspace.path);
  for (let life = 0; life < 2; life++) {
    await lab.restart('SIGKILL');
    assert.equal(await hasInherited(lab.daemon), true);
    assert.deepEqual(await mountLines(), lines);
    assert.equal(existsSync(directory), false);
    assert.notEqual((await keepersBelow(lab.workspace.path))[0], keeper);
  }
  await reading;
  await layer.read(1);
  const root2 = await lab.mount(layer.snapshot);
  assert.equal((await readFile(join(root2, 'file-3'))).length, 3 * mib);
  await lab.unmount(root2);
});

test('A connection in a directory that is another one is not gone on with: everything is mounted again', async () => {
  await using layer = await mountFiles();
  const { root } = lab.daemon;
  await lab.daemon.program.stop('SIGKILL');
  await forgetRoot(root);
  const reading = assert.rejects(layer.read(2), { code: 'EIO' });
  await lab.restart('SIGKILL');
  await reading;
  assert.match(messages(), /cannot take over the FUSE connection of a process that ended/);
  const again = await lab.mount(layer.snapshot);
  assert.equal((await readFile(join(again, 'file-2'))).length, 3 * mib);
  await lab.unmount(again);
});

test('A layer that was removed while it is still read goes on after a crash', async () => {
  const mounts = await mountsBelow(lab.daemon.root);
  const { snapshot, root, read } = await mountFiles();
  await read(0);
  await lab.removeMounted(snapshot, root);
  await until(async () => (await mountsBelow(lab.daemon.root)).length === mounts.length);
  await read(1);
  await lab.crash();
  await read(2);
  await read(3);
  await run('umount', [root]);
});

test('A command that looks after the cache while a killed daemon is away does not keep the next one from starting, and waits for it', async () => {
  await using layer = await mountFiles();
  await layer.read(0);
  await lab.daemon.program.stop('SIGKILL');
  const { root } = lab.daemon;
  const cache = (...args: string[]) => run(join(repository, 'bin', 'lazypull'), ['cache', ...args, '--root', root]);
  let isReady = false;
  const looking = cache('ls', '--address', lab.socket).then((text) => ({ text, isReady }));
  await delay(1500);
  isReady = true;
  await lab.restart('SIGKILL');
  const found = await looking;
  assert.ok(found.isReady, 'it did not wait');
  assert.match(found.text, /in use/);
  for (const file of [1, 2, 3]) await layer.read(file);
});

/** After so long a daemon has written down what it has: every two seconds. */
const writtenDownMs = 3_000;

test('A client that mounts a layer late, when the daemon has been stopped, gets an error and not an empty directory', async () => {
  const { snapshot, root } = await mountFiles();
  const points = (await mountsBelow(join(lab.root, 'snapshotter'))).map((path) => join(path, 'fs'));
  assert.ok(points.length > 0);
  await lab.unmount(root);
  await lab.restart('SIGTERM');
  const again = await lab.mount(snapshot);
  assert.equal((await readFile(join(again, 'file-1'))).length, 3 * mib);
  await lab.unmount(again);
  await lab.daemon.program.stop('SIGTERM');
  for (const point of points) assert.ok(!existsSync(point), `${point} is there`);
  await lab.restart('SIGTERM');
});

test('A daemon starts while the registry is away, serves what is there, and gets the rest when it is back', async () => {
  await using kept = await mountFiles();
  await kept.read(0);
  await using lost = await mountFiles();
  await delay(writtenDownMs);
  await lab.daemon.program.stop('SIGKILL');
  await rm(lab.layerDirectory(lost.layer), { recursive: true });
  lab.registry.script({ path: /blobs/ }, ...Array(200).fill({ kind: 'status', status: 503 }));
  await lab.restart('SIGKILL');
  await kept.read(0);
  await assert.rejects(lab.mount(lost.snapshot), /unavailable/i);
  lab.registry.forgetFaults();
  await lab.unmount(await lab.mountWhenAvailable(lost.snapshot));
  for (const file of [0, 1, 2, 3]) await kept.read(file);
});

/**
 * Binds the paths that come before "--", and becomes the program that comes after it, with those sockets passed as a
 * service manager does, once it reads a line.
 */
const passing = `
import os, socket, sys
end = sys.argv.index("--")
sockets = [socket.socket(socket.AF_UNIX) for path in sys.argv[1:end]]
for s, path in zip(sockets, sys.argv[1:end]):
    s.bind(path)
    s.listen()
for i, fd in enumerate([os.dup(s.fileno()) for s in sockets]):
    assert fd >= 3 + len(sockets) or fd == 3 + i
    os.dup2(fd, 3 + i)
print("listening", flush=True)
sys.stdin.readline()
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=":".join(["lazypull.socket"] * len(sockets)))
os.execv(sys.argv[end + 1], sys.argv[end + 1:])
`;
import { until } from '../../support/until.ts';

for (const names of [['s'], ['second', 'first']]) {
  test(`A service manager can pass ${names.length} sockets, on which clients wait before the daemon is there`, async () => {
    const directory = await lab.workspace.directory(`activated-${names.length}`);
    const sockets = names.map((name) => join(directory, `${name}.sock`));
    const addresses = sockets.toSorted().flatMap((socket) => ['--address', socket]);
    const args = ['--', daemonProgram, ...addresses, '--root', join(directory, 'root')];
    const daemon = spawn('python3', ['-c', passing, ...sockets, ...args], { stdio: ['pipe', 'pipe', 'ignore'] });
    await once(daemon.stdout, 'data');
    const answered = sockets.map(async (socket) => {
      using client = new SnapshotsClient(socket);
      await client.cleanup();
    });
    daemon.stdin.end('go\n');
    await Promise.all(answered);
    assert.equal(existsSync(join(directory, 'root', 'clients', 'second')), names.length === 2);
    daemon.kill('SIGTERM');
    assert.deepEqual(await once(daemon, 'exit'), [0, null]);
    assert.ok(
      sockets.every((socket) => existsSync(socket)),
      "the sockets are the manager's",
    );
    assert.deepEqual(await keepersBelow(directory), []);
  });
}

test('A killed daemon that waits for itself in the kernel is freed by the next one', { timeout: 60_000 }, async () => {
  await lab.daemon.program.stop('SIGTERM');
  const stuck = spawn(process.execPath, [stuckDaemon, lab.daemon.root], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(stuck.stdout, 'data');
  stuck.kill('SIGKILL');
  await delay(200);
  assert.equal(stuck.signalCode, null, 'it ended at once, so this test proves nothing');
  const ended = once(stuck, 'exit');
  await lab.restart('SIGKILL');
  await ended;
  await using layer = await mountFiles();
  await layer.read(0);
});
