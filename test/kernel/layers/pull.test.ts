import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { after, before, test } from 'node:test';
import { constants, createGzip, gzipSync, zstdCompressSync } from 'node:zlib';
import { treeName } from '../../../src/fronts/front.ts';
import { mountImage, unmount } from '../../../src/kernel/mount.ts';
import { ampleMemory } from '../../../src/layers/memory-budget.ts';
import { pullLimits } from '../../../src/layers/pull/pull-limits.ts';
import { LayerPuller, type PulledLayer, type PullRequest } from '../../../src/layers/pull/puller.ts';
import { silentLog } from '../../../src/log.ts';
import { MemoryBlob } from '../../support/memory-blob.ts';
import { run } from '../../support/program.ts';
import { pullTarget } from '../../support/pulled-layer.ts';
import { arbitraryLayer, tarOf } from '../../support/random-layer.ts';
import { assertSameTree, describeTar, describeTree, withoutRoot } from '../../support/tree.ts';
import { Workspace } from '../../support/workspace.ts';
import fc from '../../support/properties.ts';

/** What a base image is made of: programs, libraries, configuration, documentation. */
const sample = ['etc', 'usr/sbin', 'usr/lib/systemd', 'usr/share/perl5'];
const above = ['--no-recursion', 'usr', 'usr/lib', 'usr/share', '--recursion'];

let workspace: Workspace;
let puller: LayerPuller;

before(async () => {
  workspace = await Workspace.open('lp-pull');
  puller = new LayerPuller({ limits: pullLimits(ampleMemory), makeRoom: () => Promise.resolve(), log: silentLog });
});
after(async () => {
  await puller[Symbol.asyncDispose]();
  await workspace[Symbol.asyncDispose]();
});

async function pull(blob: MemoryBlob): Promise<{ pulled: PulledLayer; diskPath: string }> {
  const { blobBytes: _, unsyncedBytes: __, ...target } = await pullTarget(workspace.path, blob.content);
  const { signal } = new AbortController();
  const request: PullRequest = { ...target, blob, signal, onProgress: () => undefined };
  return { pulled: await puller.pull(request), diskPath: target.diskPath };
}

/** The lines of the tree that the kernel shows of a blob. */
async function pulledTree(content: Buffer): Promise<string[]> {
  const { diskPath } = await pull(new MemoryBlob(content));
  const root = await workspace.directory('mounted');
  await run('fsck.erofs', [diskPath]);
  await mountImage('erofs', diskPath, root);
  try {
    return await describeTree(join(root, treeName));
  } finally {
    await unmount(root);
    await rm(dirname(diskPath), { recursive: true });
  }
}

async function makeTar(name: string, args: readonly string[]): Promise<string> {
  const tar = join(workspace.path, `${name}.tar`);
  await run('tar', ['-C', '/', '--sort=name', ...args, '-cf', tar, ...above, ...sample]);
  return tar;
}

/** As pigz does it: blocks that end at a byte, in one member. */
async function flushed(tar: string): Promise<Buffer> {
  const gzip = createGzip();
  const path = `${tar}.gz`;
  const writing = pipeline(gzip, createWriteStream(path));
  for await (const data of createReadStream(tar, { highWaterMark: 128 << 10 }) as AsyncIterable<Buffer>) {
    if (!gzip.write(data)) await once(gzip, 'drain');
    await new Promise<void>((resolve) => gzip.flush(constants.Z_SYNC_FLUSH, resolve));
  }
  gzip.end();
  await writing;
  return readFile(path);
}

function inMembers(tar: Buffer, bytes: number): Buffer {
  const members: Buffer[] = [];
  for (let at = 0; at < tar.length; at += bytes) members.push(gzipSync(tar.subarray(at, at + bytes), { level: 1 }));
  return Buffer.concat(members);
}

test('LayerPuller makes of blobs of many writers what GNU tar unpacks', async () => {
  for (const args of [['--format=gnu'], ['--format=pax', '--xattrs'], ['--format=gnu', '--sparse']]) {
    const path = await makeTar('sample', args);
    const expected = withoutRoot(await describeTar(path, workspace.path));
    const tar = await readFile(path);
    const blobs =
      args.length > 1
        ? [gzipSync(tar, { level: 1 })]
        : [tar, gzipSync(tar), await flushed(path), inMembers(tar, 64 << 10), zstdCompressSync(tar)];
    for (const blob of blobs) assertSameTree(withoutRoot(await pulledTree(blob)), expected);
  }
});

test('LayerPuller makes of any layer what GNU tar unpacks', async () => {
  await fc.assert(
    fc.asyncProperty(arbitraryLayer(), async (files) => {
      const tar = tarOf(files);
      const path = join(workspace.path, 'random.tar');
      await pipeline([tar], createWriteStream(path));
      const expected = await describeTar(path, workspace.path);
      assertSameTree(withoutRoot(await pulledTree(gzipSync(tar))), withoutRoot(expected));
    }),
    { numRuns: 15 },
  );
});

test('LayerPuller gives a layer up for which the disk has no space, and leaves nothing', async () => {
  const image = join(workspace.path, 'small');
  await run('truncate', ['-s', '120M', image]);
  await run('mkfs.ext4', ['-q', image]);
  const small = await workspace.directory('disk');
  await run('mount', ['-o', 'loop', image, small]);
  const tar = await readFile(await makeTar('sample', ['--format=gnu']));
  const entries = tar.subarray(0, Math.ceil((tar.findLastIndex((byte) => byte !== 0) + 1) / 512) * 512);
  const content = zstdCompressSync(Buffer.concat([entries, entries, tar]));
  const { blobBytes: _, unsyncedBytes: __, ...target } = await pullTarget(small, content);
  const request = { ...target, blob: new MemoryBlob(content), signal: new AbortController().signal };
  await mkdir(small, { recursive: true });
  await assert.rejects(puller.pull({ ...request, onProgress: () => undefined }), { code: 'ResourceExhausted' });
  assert.deepEqual(await readdir(dirname(target.diskPath)), []);
  await run('umount', [small]);
  await assert.rejects(stat(target.diskPath), { code: 'ENOENT' });
});
