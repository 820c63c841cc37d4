import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pipeline } from 'node:stream/promises';
import { Cgroup } from '../../support/cgroup.ts';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';

const mib = 1 << 20;
const fileBytes = 4 * mib;
const largeFiles = 24;
const smallFiles = 4_800;

const readers = 4;

/** Less than a daemon says it needs, so that no luck is part of it. */
const limitBytes = 192 * mib;

/** Compresses to about a third, as programs do. */
function content(): Buffer {
  const parts = Array.from({ length: fileBytes / 3072 }, () => {
    const part = randomBytes(1024);
    return Buffer.concat([part, part, part]);
  });
  return Buffer.concat(parts);
}

async function digestOf(path: string): Promise<string> {
  const sum = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: mib }), sum);
  return sum.digest('hex');
}

test('A whole layer is read cold in a control group with little memory, and nothing is killed', {
  timeout: 300_000,
}, async (t) => {
  await using group = await Cgroup.make('memory', limitBytes);
  await using lab = await group.during(() => LayerLab.open('noprefetch = true\n'));
  const specs: FileSpec[] = [{ path: '.', type: 'dir', mode: 0o755 }];
  const digests = new Map<string, string>();
  const add = (path: string, bytes: Buffer): void => {
    digests.set(path, createHash('sha256').update(bytes).digest('hex'));
    specs.push({ path, type: 'reg', mode: 0o644, content: bytes });
  };
  for (let i = 0; i < largeFiles; i++) {
    for (let j = 0; j < smallFiles / largeFiles; j++) add(`d${i}/small-${j}`, randomBytes(2000));
    add(`d${i}/large`, content());
  }
  const layer = lab.layer(estargzBlob(specs));
  specs.length = 0;
  const mounted = await lab.mount(await lab.prepare([layer]));
  const wrong: string[] = [];
  const queue = digests.entries();
  const reading = Promise.all(
    Array.from({ length: readers }, async () => {
      for (const [path, digest] of queue) if ((await digestOf(join(mounted, path))) !== digest) wrong.push(path);
    }),
  );
  const isOver = await Promise.race([reading.then(() => true), lab.daemon.program.ended.then(() => false)]);
  t.diagnostic(`${await group.peakBytes()} bytes of the group, ${await lab.peakMemory()} MB at its peak`);
  assert.ok(isOver, `the daemon ${lab.daemon.program.outcome}`);
  assert.deepEqual(wrong, []);
  assert.equal(await group.kills(), 0);
  await lab.unmount(mounted);
});
