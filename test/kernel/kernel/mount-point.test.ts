import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { detach, mountErofs, mountsBelow, unmount } from '../../../src/kernel/mount.ts';
import { clearMountPoint, fillMountPoint } from '../../../src/kernel/mount-point.ts';

const run = promisify(execFile);

async function placeIn(t: TestContext): Promise<{ directory: string; image: string; target: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-mount-point-'));
  t.after(async () => {
    for (const mounted of await mountsBelow(directory)) await detach(mounted);
    await rm(directory, { recursive: true });
  });
  await mkdir(join(directory, 'tree'));
  await writeFile(join(directory, 'tree', 'file'), 'content');
  const image = join(directory, 'image');
  await run('mkfs.erofs', [image, join(directory, 'tree')]);
  await mkdir(join(directory, '7'));
  return { directory, image, target: join(directory, '7', 'fs') };
}

/** Looks into `target` again and again. `end` resolves with how often it found the image, nothing, and an empty directory. */
async function watcherOf(
  t: TestContext,
  target: string,
): Promise<{ end: () => Promise<readonly [number, number, number]> }> {
  const counts = new Int32Array(new SharedArrayBuffer(16));
  const script = `
    const { readdirSync } = require('node:fs');
    const { parentPort, workerData: { target, counts } } = require('node:worker_threads');
    parentPort.postMessage('begins');
    while (Atomics.load(counts, 3) === 0) {
      let found = 1;
      try { if (readdirSync(target).length > 0) found = 0; else found = 2; } catch {}
      Atomics.add(counts, found, 1);
    }`;
  const worker = new Worker(script, { eval: true, workerData: { target, counts } });
  const exited = once(worker, 'exit');
  t.after(() => worker.terminate());
  await once(worker, 'message');
  const end = async () => {
    Atomics.store(counts, 3, 1);
    await exited;
    return [counts[0]!, counts[1]!, counts[2]!] as const;
  };
  return { end };
}

test('Who looks at a mount point again and again, while it is filled and cleared, never finds an empty directory', async (t) => {
  const { directory, image, target } = await placeIn(t);
  const watcher = await watcherOf(t, target);
  for (let i = 0; i < 300; i++) {
    await fillMountPoint(image, target);
    assert.equal(await clearMountPoint(target, detach), true);
  }
  const [images, absent, empty] = await watcher.end();
  assert.ok(images > 0 && absent > 0, `it looked ${images} and ${absent} times`);
  assert.equal(empty, 0);
  assert.deepEqual(await mountsBelow(directory), []);
  assert.deepEqual((await readdir(directory)).toSorted(), ['7', 'image', 'tree']);
});

test('A mount point is filled in place of what is mounted there, and stays where it was when the image is of no use', async (t) => {
  const { directory, image, target } = await placeIn(t);
  await fillMountPoint(image, target);
  await fillMountPoint(image, target);
  assert.deepEqual(await mountsBelow(directory), [target]);
  await writeFile(join(directory, 'bad'), Buffer.alloc(8192));
  await assert.rejects(fillMountPoint(join(directory, 'bad'), target), /Cannot mount the EROFS image/);
  assert.deepEqual(await mountsBelow(directory), []);
  await assert.rejects(access(target), { code: 'ENOENT' });
  assert.equal(await clearMountPoint(target, unmount), false);
  await rm(join(directory, '7'), { recursive: true });
  assert.equal(await clearMountPoint(target, unmount), false);
});

test('What is in use is back at its place when it cannot be unmounted, with what it holds', async (t) => {
  const { image, target } = await placeIn(t);
  await fillMountPoint(image, target);
  const user = execFile('sleep', ['60'], { cwd: target });
  await once(user, 'spawn');
  try {
    await assert.rejects(clearMountPoint(target, unmount), /Cannot unmount/);
    assert.equal(await readFile(join(target, 'file'), 'utf8'), 'content');
    assert.equal(await clearMountPoint(target, detach), true);
  } finally {
    user.kill();
    await once(user, 'exit');
  }
});

test('A mount that somebody who was killed left aside is taken away', async (t) => {
  const { directory, image, target } = await placeIn(t);
  const aside = join(directory, '7.aside', 'fs');
  await mkdir(aside, { recursive: true });
  await mountErofs(image, aside);
  await fillMountPoint(image, target);
  assert.deepEqual(await mountsBelow(directory), [target]);
  await clearMountPoint(target, unmount);
  await mkdir(aside, { recursive: true });
  await mountErofs(image, aside);
  await rm(join(directory, '7'), { recursive: true });
  assert.equal(await clearMountPoint(target, unmount), true);
  assert.deepEqual((await readdir(directory)).toSorted(), ['7', 'image', 'tree']);
});
