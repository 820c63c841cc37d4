import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, describe, it } from 'node:test';
import { codeOf } from '../../../src/errors.ts';
import { Refusal } from '../../../src/layers/resolve/refusal.ts';
import { silentLog } from '../../../src/log.ts';
import type { RemoteLayers } from '../../../src/snapshots/remote-layers.ts';
import { openSnapshotter } from '../../../src/snapshots/snapshotter.ts';
import { SnapshotStore } from '../../../src/snapshots/store.ts';

/**
 * What can become of the files of a store: `path` is the database, whose pages are all in its log unless it is
 * `closed`, and `older` what it was three snapshots ago.
 */
const damages: Record<string, (path: string, older: string) => void> = {
  'the database is missing': (path) => rmSync(path),
  'the database is empty': (path) => truncateSync(path),
  'all of the database is missing': (path) => files(path).forEach((file) => rmSync(file)),
  'the database and its number are missing': (path) => [path, `${path}-generation`].forEach((file) => rmSync(file)),
  'the database is a directory': (path) => madeDirectory(path),
  'the log is a directory': (path) => madeDirectory(`${path}-wal`),
  'the number is a directory': (path) => madeDirectory(`${path}-generation`),
  'the database is garbage': (path) => writeFileSync(closed(path), Buffer.alloc(8192, 'x')),
  'the database is zeros': (path) => writeFileSync(closed(path), Buffer.alloc(8192)),
  'the database is cut': (path) => truncateSync(closed(path), 4096),
  'a page of the database is garbage': (path) => fill(closed(path), 4096, 4096),
  'the database is that of another program': (path) => {
    files(path).forEach((file) => rmSync(file));
    const other = new DatabaseSync(path);
    other.exec('CREATE TABLE snapshots (id INTEGER)');
    other.close();
  },
  'the database is one that was just made': (path) => {
    files(path).forEach((file) => rmSync(file));
    new DatabaseSync(path).exec('PRAGMA journal_mode = WAL');
  },
  'the database is older than its log was': (path, older) => copyFileSync(older, closed(path)),
  'the log is missing': (path) => rmSync(`${path}-wal`),
  'the log and the number are missing': (path) => ['-wal', '-generation'].forEach((each) => rmSync(`${path}${each}`)),
  'the number is missing': (path) => rmSync(`${path}-generation`),
  'the log is empty': (path) => truncateSync(`${path}-wal`),
  'the log is garbage': (path) => fill(`${path}-wal`, 0, statSync(`${path}-wal`).size),
  'the log is cut': (path) => truncateSync(`${path}-wal`, statSync(`${path}-wal`).size >> 1),
  'a part of the log is garbage': (path) => fill(`${path}-wal`, statSync(`${path}-wal`).size >> 1, 100),
  'the database is an older copy': (path, older) => {
    for (const suffix of ['', '-wal']) copyFileSync(`${older}${suffix}`, `${path}${suffix}`);
  },
};

describe('a store that was damaged', () => {
  for (const [damage, make] of Object.entries(damages)) {
    it(`is refused, and every directory stays: ${damage}`, async (t) => {
      const root = await storeWithSnapshots(t);
      const path = join(root, 'snapshotter/snapshots.db');
      make(path, join(root, 'older/snapshots.db'));
      const before = tree(root);
      for (let start = 1; start <= 2; start++) {
        await assert.rejects(open(root), (error) => {
          assert.ok(['DataLoss', 'FailedPrecondition'].includes(codeOf(error)), String(error));
          assert.match(String(error), /^LazypullError: Cannot use ".*snapshots.db": .*; .*(restore|move it away)/);
          return true;
        });
      }
      assert.deepEqual(tree(root), before);
    });
  }

  const afterThat = {
    '': 'restore it',
    '-wal': 'restore it',
    '-journal': 'restore it',
    '-generation': 'make an empty file in its place',
  };
  for (const [suffix, advice] of Object.entries(afterThat)) {
    it(`is refused at once, if snapshots.db${suffix} is a named pipe`, async (t) => {
      const root = await storeWithSnapshots(t);
      const path = join(root, 'snapshotter/snapshots.db');
      rmSync(`${path}${suffix}`, { force: true });
      execFileSync('mkfifo', [`${path}${suffix}`]);
      await assert.rejects(open(root), new RegExp(`"[^"]*" is a named pipe and no file; move it away, and ${advice}`));
    });
  }

  it('goes on with what is left when it is told to, and keeps what others wrote', async (t) => {
    const root = await storeWithSnapshots(t);
    const path = join(root, 'snapshotter/snapshots.db');
    damages['the database is an older copy']!(path, join(root, 'older/snapshots.db'));
    writeFileSync(`${path}-generation`, '');
    const { snapshotter, directory } = await open(root);
    await snapshotter.restore();
    await snapshotter.cleanup();
    assert.equal((await Array.fromAsync(snapshotter.list([]))).length, 3);
    assert.deepEqual(readdirSync(directory).sort(), ['1', '2', '3', '4', '5', '6']);
    await snapshotter.prepare('next', '', {});
    assert.ok(existsSync(join(directory, '7/fs')));
    await snapshotter.close();
    await (await open(root)).snapshotter.close();
  });

  it('is begun again when it is moved away', async (t) => {
    const root = await storeWithSnapshots(t);
    cpSync(join(root, 'snapshotter'), join(root, 'old'), { recursive: true });
    rmSync(join(root, 'snapshotter'), { recursive: true });
    const { snapshotter } = await open(root);
    assert.deepEqual(await Array.fromAsync(snapshotter.list([])), []);
    await snapshotter.close();
  });
});

describe('a store', () => {
  it('is made again if no snapshot has a directory, whatever else is there', (t) => {
    const directory = temporaryDirectory(t);
    const path = join(directory, 'snapshots.db');
    mkdirSync(join(directory, 'snapshots/lost+found'), { recursive: true });
    writeFileSync(`${path}-generation`, '0000000000000099\n');
    writeFileSync(path, '');
    using store = new SnapshotStore(path);
    assert.equal(store.ids().size, 0);
  });

  it('opens when the number of its last change is behind or makes no sense', (t) => {
    const path = join(temporaryDirectory(t), 'snapshots.db');
    using _made = made(path);
    for (const text of ['', 'x'.repeat(17), '0000000000000001\n', '00000000000000', '-000000000000001\n']) {
      writeFileSync(`${path}-generation`, text);
      using store = new SnapshotStore(path);
      assert.equal(store.ids().size, 5);
    }
  });

  it('is one of an earlier version too, which has no number', (t) => {
    const path = join(temporaryDirectory(t), 'snapshots.db');
    using _made = made(path);
    const old = new DatabaseSync(path);
    old.exec('DROP TABLE generation; DROP TABLE removed');
    old.close();
    rmSync(`${path}-generation`);
    {
      using store = new SnapshotStore(path);
      store.remove('s1');
      assert.deepEqual(store.removedIds(), new Set([2]));
    }
    using store = new SnapshotStore(path);
    assert.equal(store.ids().size, 4);
  });

  it('forgets a removed snapshot once its directory is gone and another one is removed', (t) => {
    const path = join(temporaryDirectory(t), 'snapshots.db');
    using _made = made(path);
    using store = new SnapshotStore(path);
    store.remove('s0');
    store.remove('s1');
    store.noteGone(1);
    assert.deepEqual(store.removedIds(), new Set([1, 2]));
    store.remove('s2');
    assert.deepEqual(store.removedIds(), new Set([2, 3]));
  });
});

/** Puts an empty directory in the place of a file, as Docker does if it mounts a file that is not there. */
function madeDirectory(path: string): void {
  rmSync(path);
  mkdirSync(path);
}

/**
 * A root as a killed daemon leaves it, with six snapshots that were written into, and `older`: the database
 * when there were three.
 */
async function storeWithSnapshots(t: TestContext): Promise<string> {
  const live = temporaryDirectory(t);
  const { snapshotter, directory } = await open(live);
  const root = temporaryDirectory(t);
  for (let id = 1; id <= 6; id++) {
    await snapshotter.prepare(`s${id}`, '', { long: 'x'.repeat(3000) });
    writeFileSync(join(directory, `${id}/fs/file`), String(id));
    if (id === 3) cpSync(join(live, 'snapshotter'), join(root, 'older'), { recursive: true });
  }
  cpSync(join(live, 'snapshotter'), join(root, 'snapshotter'), { recursive: true });
  await snapshotter.close();
  return root;
}

async function open(root: string) {
  const layers: RemoteLayers = {
    mount: () => Promise.reject(new Error('There are no layers')),
    restore: () => Promise.reject(new Error('There are no layers')),
    resolve: () => new Refusal('annotations', 'InvalidArgument', 'no layers here'),
    refusalOf: () => undefined,
    checkStacking: () => Promise.resolve(),
    check: () => Promise.resolve(),
    usage: () => Promise.resolve({ inodes: 0, bytes: 0, mostBytes: 0 }),
    unmount: () => Promise.resolve(),
  };
  const snapshotter = await openSnapshotter({ root, layers, log: silentLog });
  return { snapshotter, directory: join(root, 'snapshotter/snapshots') };
}

/** A closed store with five snapshots. */
function made(path: string): SnapshotStore {
  const store = new SnapshotStore(path);
  for (let i = 0; i < 5; i++) {
    store.create({ id: store.allocateId(), name: `s${i}`, kind: 'active', parent: '', labels: {}, remote: false });
  }
  store.close();
  return store;
}

function closed(path: string): string {
  new SnapshotStore(path).close();
  return path;
}

function files(path: string): string[] {
  return ['', '-wal', '-generation'].map((suffix) => `${path}${suffix}`);
}

/** All that snapshots hold. */
function tree(root: string): string[] {
  const directory = join(root, 'snapshotter/snapshots');
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((path) => `${path} ${statSync(path).isFile() ? readFileSync(path, 'utf8') : ''}`);
}

function fill(path: string, from: number, length: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.alloc(length, 0x5a), 0, length, from);
  closeSync(fd);
}

function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'database-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
