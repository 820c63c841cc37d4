import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { silentLog } from '../../../src/log.ts';
import { Directories } from '../../../src/snapshots/directories.ts';
import type { RemoteLayers } from '../../../src/snapshots/remote-layers.ts';

const none: ReadonlySet<number> = new Set();

function setUp(t: TestContext) {
  const path = mkdtempSync(join(tmpdir(), 'lazypull-directories-'));
  t.after(() => rmSync(path, { recursive: true }));
  const unmounted: string[] = [];
  const lines: object[] = [];
  const layers = { unmount: async (mountpoint: string) => void unmounted.push(mountpoint) } as RemoteLayers;
  const log = { ...silentLog, warn: (fields: object) => void lines.push(fields) };
  const directories = new Directories(path, layers, log);
  const write = (id: number): void => writeFileSync(join(directories.content(id), 'file'), 'content');
  return { path, directories, unmounted, lines, write, left: () => readdirSync(path).toSorted() };
}

test('Directories.create makes the directories of a snapshot, with the modes that overlayfs wants', async (t) => {
  const { path, directories } = setUp(t);
  await directories.create(1, 'committed');
  await directories.create(2, 'active', 1);
  const mode = (name: string): number => statSync(join(path, name)).mode & 0o777;
  assert.deepEqual(['1', '1/fs', '2', '2/fs', '2/work'].map(mode), [0o700, 0o755, 0o700, 0o755, 0o711]);
  assert.equal(existsSync(join(path, '1/work')), false);
  assert.equal(directories.highestId(), 2);
});

test('Directories.remove takes only what is empty, Directories.removeLater everything', async (t) => {
  const { directories, unmounted, write, left } = setUp(t);
  for (const id of [1, 2, 3]) await directories.create(id, 'active');
  write(2);
  write(3);
  for (const id of [1, 2]) await directories.remove(id);
  assert.deepEqual(left(), ['2', '3']);
  assert.equal(await directories.removeLater(3), true);
  assert.deepEqual(left(), ['2']);
  assert.deepEqual(
    unmounted,
    [1, 2, 3].map((id) => directories.content(id)),
  );
});

test('Directories.removeStrays leaves content without a record alone, and says so once', async (t) => {
  const { directories, lines, write, left } = setUp(t);
  for (const id of [1, 2, 3, 4, 5]) await directories.create(id, 'active');
  for (const id of [1, 2, 3, 4]) directories.release(id);
  write(2);
  write(3);
  const records = () => ({ known: new Set([1]), removed: new Set([3, 9]) });
  assert.deepEqual(new Set(await directories.removeStrays(records)), new Set([3, 9]));
  assert.deepEqual(left(), ['1', '2', '5'], 'known, with content, or of a call under way');
  assert.deepEqual(lines, [{ directory: directories.path, snapshots: ['2'], count: 1 }]);
  await directories.removeStrays(records);
  assert.equal(lines.length, 1);
});

test('Directories.stop unmounts what is queued and keeps its files, Directories.leave does nothing to it', async (t) => {
  for (const how of ['stop', 'leave'] as const) {
    const { directories, unmounted, left } = setUp(t);
    await directories.create(1, 'active');
    const held = Promise.withResolvers<void>();
    const removal = directories.removeLater(1, held.promise);
    const ended = directories[how]();
    held.resolve();
    await ended;
    assert.equal(await removal, false);
    assert.deepEqual(left(), ['1']);
    assert.equal(unmounted.length, how === 'stop' ? 1 : 0);
    await directories.removeStrays(() => ({ known: none, removed: none }));
    assert.deepEqual(left(), ['1']);
  }
});
