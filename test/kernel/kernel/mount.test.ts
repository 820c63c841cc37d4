import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { detach, mountImage, mountsBelow, unmount } from '../../../src/kernel/mount.ts';

const run = promisify(execFile);

async function imageIn(t: TestContext): Promise<{ directory: string; image: string; target: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull mount-'));
  t.after(() => rm(directory, { recursive: true }));
  const [tree, target] = [join(directory, 'tree'), join(directory, 'target')];
  await mkdir(tree);
  await mkdir(target);
  await writeFile(join(tree, 'file'), 'content');
  const image = join(directory, 'image');
  await run('mkfs.erofs', [image, tree]);
  return { directory, image, target };
}

test('mountImage() mounts an image file, and unmount() tells whether there was something to unmount', async (t) => {
  const { directory, image, target } = await imageIn(t);
  await mountImage('erofs', image, target);
  assert.deepEqual(await mountsBelow(directory), [target]);
  assert.equal(await readFile(join(target, 'file'), 'utf8'), 'content');
  assert.equal(await unmount(target), true);
  assert.equal(await unmount(target), false);
  assert.deepEqual(await mountsBelow(directory), []);
});

test('mountImage() takes a loop device if the image is on a file system that cannot be read directly', async (t) => {
  const { directory, image, target } = await imageIn(t);
  const overlay = join(directory, 'overlay');
  for (const name of ['overlay', 'lower', 'upper', 'work']) await mkdir(join(directory, name));
  const options = ['lower', 'upper', 'work'].map((name) => `${name}dir=${join(directory, name)}`).join(',');
  await run('mount', ['-t', 'overlay', '-o', options, 'overlay', overlay]);
  try {
    await copyFile(image, join(overlay, 'image'));
    await mountImage('erofs', join(overlay, 'image'), target);
    assert.equal(await readFile(join(target, 'file'), 'utf8'), 'content');
    await unmount(target);
  } finally {
    await unmount(overlay);
  }
});

test('mountImage() says what it could not mount, and why', async (t) => {
  const { image, target } = await imageIn(t);
  await writeFile(image, Buffer.alloc(8192));
  await assert.rejects(mountImage('erofs', image, target), (error: Error) => {
    assert.match(error.message, /Cannot mount the EROFS image/);
    assert.equal((error.cause as NodeJS.ErrnoException).code, 'EINVAL');
    return true;
  });
});

test('unmount() says that a mount is in use, and detach() takes it away all the same', async (t) => {
  const { image, target } = await imageIn(t);
  await mountImage('erofs', image, target);
  const user = execFile('sleep', ['30'], { cwd: target });
  t.after(() => user.kill());
  await new Promise((resolve) => user.once('spawn', resolve));
  await assert.rejects(unmount(target), (error: Error) => (error.cause as NodeJS.ErrnoException).code === 'EBUSY');
  assert.equal(await detach(target), true);
  assert.equal(await unmount(target), false);
});
