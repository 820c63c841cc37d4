import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { detach, mountImage, mountsBelow, unmount } from '../../../src/kernel/mount.ts';
import { clearMountPoint, coverMountPoint, fillMountPoint, mountShownAt } from '../../../src/kernel/mount-point.ts';
import { until } from '../../support/until.ts';

const run = promisify(execFile);

async function placeIn(t: TestContext): Promise<{ directory: string; image: string; point: string; target: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-mount-point-'));
  t.after(async () => {
    for (const mounted of await mountsBelow(directory)) await detach(mounted);
    await rm(directory, { recursive: true });
  });
  await mkdir(join(directory, 'tree', 'fs'), { recursive: true });
  await writeFile(join(directory, 'tree', 'fs', 'file'), 'content');
  const image = join(directory, 'image');
  await run('mkfs.erofs', [image, join(directory, 'tree')]);
  await mkdir(join(directory, '7'));
  const point = join(directory, '7');
  return { directory, image, point, target: join(point, 'fs') };
}

/**
 * Looks into `target` again and again, `looks` times by now. `end` resolves with how often it found the image, nothing,
 * and an empty directory.
 */
async function watcherOf(
  t: TestContext,
  target: string,
): Promise<{ looks: () => number; end: () => Promise<readonly [number, number, number]> }> {
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
  return { looks: () => counts[0]! + counts[1]! + counts[2]!, end };
}

test('A program that looks at a mount point again and again, while it is filled and cleared, never finds an empty directory', async (t) => {
  const { directory, image, target } = await placeIn(t);
  const watcher = await watcherOf(t, target);
  for (let i = 0; i < 300; i++) {
    await fillMountPoint('erofs', image, target);
    assert.equal(await clearMountPoint(target, detach), true);
  }
  const [images, absent, empty] = await watcher.end();
  assert.ok(images > 0 && absent > 0, `it looked ${images} and ${absent} times`);
  assert.equal(empty, 0);
  assert.deepEqual(await mountsBelow(directory), []);
  assert.deepEqual((await readdir(directory)).toSorted(), ['7', 'image', 'tree']);
});

test('mountShownAt names no mount where none is, so that a mount that goes at once is not taken for the one below', async (t) => {
  const { image, point, target } = await placeIn(t);
  assert.equal(mountShownAt(target), undefined);
  await fillMountPoint('erofs', image, target);
  const shown = mountShownAt(target);
  assert.ok(shown !== undefined);
  await run('umount', [point]);
  assert.equal(mountShownAt(target), undefined);
  await mkdir(target);
  assert.equal(mountShownAt(target), undefined);
});

test('fillMountPoint mounts in place of what is mounted there, and leaves nothing if the image is of no use', async (t) => {
  const { directory, image, point, target } = await placeIn(t);
  await mkdir(target);
  await run('mount', ['-t', 'tmpfs', 'none', target]);
  for (const covered of [point, target]) {
    await fillMountPoint('erofs', image, target);
    assert.deepEqual(await mountsBelow(directory), [point]);
    await run('mount', ['-t', 'tmpfs', 'none', covered]);
  }
  await fillMountPoint('erofs', image, target);
  assert.deepEqual(await mountsBelow(directory), [point]);
  await writeFile(join(directory, 'bad'), Buffer.alloc(8192));
  await assert.rejects(fillMountPoint('erofs', join(directory, 'bad'), target), /Cannot mount the EROFS image/);
  assert.deepEqual(await mountsBelow(directory), []);
  await assert.rejects(access(target), { code: 'ENOENT' });
  await run('mkfs.erofs', [join(directory, 'treeless'), join(directory, 'tree', 'fs')]);
  await assert.rejects(fillMountPoint('erofs', join(directory, 'treeless'), target), { code: 'DataLoss' });
  assert.deepEqual(await mountsBelow(directory), []);
  await assert.rejects(access(target), { code: 'ENOENT' });
  assert.equal(await clearMountPoint(target, unmount), false);
  await rm(join(directory, '7'), { recursive: true });
  assert.equal(await clearMountPoint(target, unmount), false);
});

test('coverMountPoint mounts in place of what lies on the tree itself, and whoever looks finds one or the other', async (t) => {
  const { directory, image, point, target } = await placeIn(t);
  const treeless = join(directory, 'treeless');
  await run('mkfs.erofs', [treeless, join(directory, 'tree', 'fs')]);
  await mkdir(target);
  await mountImage('erofs', treeless, target);
  const watcher = await watcherOf(t, target);
  await until(() => watcher.looks() > 1000);
  await coverMountPoint('erofs', image, target);
  await until(() => watcher.looks() > 2000);
  const [images, absent, empty] = await watcher.end();
  assert.deepEqual([images > 0, absent, empty], [true, 0, 0]);
  assert.deepEqual(await mountsBelow(directory), [point]);
  await detach(point);
  await assert.rejects(access(target), { code: 'ENOENT' });
});

test('coverMountPoint leaves what is there if the image has no tree', async (t) => {
  const { directory, target } = await placeIn(t);
  const treeless = join(directory, 'treeless');
  await run('mkfs.erofs', [treeless, join(directory, 'tree', 'fs')]);
  await mkdir(target);
  await mountImage('erofs', treeless, target);
  const shown = mountShownAt(target);
  await assert.rejects(coverMountPoint('erofs', treeless, target), { code: 'DataLoss' });
  assert.equal(mountShownAt(target), shown);
  assert.equal(await readFile(join(target, 'file'), 'utf8'), 'content');
  assert.deepEqual(await mountsBelow(directory), [target]);
});

test('What is in use is back at its place when it cannot be unmounted, with what it holds', async (t) => {
  const { image, target } = await placeIn(t);
  await fillMountPoint('erofs', image, target);
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

const disturbances: Record<string, (point: string) => Promise<unknown>> = {
  umount: (point) => run('umount', [point]),
  'umount -l': (point) => run('umount', ['-l', point]),
  'umount -R of the directory above': async (point) => {
    await run('mount', ['--bind', dirname(point), dirname(point)]);
    await run('umount', ['-R', '-l', dirname(point)]);
    await run('umount', [point]);
  },
};

for (const [name, disturb] of Object.entries(disturbances)) {
  test(`After ${name} neither a bind mount nor overlayfs finds an empty directory`, async (t) => {
    const { directory, image, point, target } = await placeIn(t);
    await fillMountPoint('erofs', image, target);
    const shown = mountShownAt(target);
    for (const each of ['bound', 'empty', 'merged', 'upper', 'work']) await mkdir(join(directory, each));
    const overlay = ['lowerdir', 'upperdir', 'workdir'].map(
      (option, i) => `${option}=${i === 0 ? target : join(directory, ['upper', 'work'][i - 1]!)}`,
    );
    await disturb(point);
    assert.notEqual(mountShownAt(target), shown);
    await assert.rejects(run('mount', ['--bind', target, join(directory, 'bound')]), /does not exist/);
    await assert.rejects(
      run('mount', ['-t', 'overlay', '-o', overlay.join(), 'overlay', join(directory, 'merged')]),
      /does not exist|No such file|missing/i,
    );
    assert.deepEqual(await mountsBelow(directory), []);
    await fillMountPoint('erofs', image, target);
    await run('mount', ['-t', 'overlay', '-o', overlay.join(), 'overlay', join(directory, 'merged')]);
    assert.deepEqual(await readdir(join(directory, 'merged')), ['file']);
  });
}

test('mountShownAt tells what is mounted on the tree, or on the mount, from the mount', async (t) => {
  const { image, point, target } = await placeIn(t);
  await fillMountPoint('erofs', image, target);
  const shown = mountShownAt(target);
  for (const covered of [point, target]) {
    await run('mount', ['-t', 'tmpfs', 'none', covered]);
    assert.notEqual(mountShownAt(target), shown, covered);
    await unmount(covered);
    assert.equal(mountShownAt(target), shown, covered);
  }
  await writeFile('/proc/sys/vm/drop_caches', '2');
  assert.equal(mountShownAt(target), shown);
});
