import assert from 'node:assert/strict';
import { hash, randomBytes, randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { estargzBlob, footer, type FileSpec, tocOf, tocOfJson } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import type { Fault } from '../../support/registry.ts';
import type { ImageLayer } from '../../support/snapshots-client.ts';
import { until } from '../../support/until.ts';

const maxMemoryMb = 500;
const mib = 1 << 20;

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open();
});
beforeEach(() => lab.restart('SIGTERM')); // each test has the memory of a fresh daemon
after(() => lab[Symbol.asyncDispose]());

/** Files in a mounted layer of their own, and the bytes that the registry serves of it. */
async function mountFiles(files: readonly FileSpec[]) {
  const blob = estargzBlob(files, mib);
  const layer = lab.layer(blob);
  const root = await lab.mount(await lab.prepare([layer]));
  const served = lab.registry.blobs.get(layer.digest)!;
  const dataEnd = blob.context.tocOffset;
  return {
    digest: layer.digest,
    served,
    /** Spoils some bytes in every chunk. */
    spoil: () => {
      for (let at = 100; at < dataEnd; at += 300) served[at]! ^= 0x55;
    },
    heal: () => {
      lab.registry.blobs.set(layer.digest, served);
      blob.bytes.copy(served);
    },
    read: async ({ path, content }: FileSpec, from = 0, length = 1000) => {
      await using file = await open(join(root, path));
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, from);
      assert.deepEqual(buffer.subarray(0, bytesRead), content?.subarray(from, from + length));
    },
    [Symbol.asyncDispose]: () => lab.unmount(root),
  };
}

const noiseFiles = (count: number, length: number): FileSpec[] =>
  Array.from({ length: count }, (_, i) => ({ path: `file-${i}`, type: 'reg', content: randomBytes(length) }));

/** The complaint about a file of a layer, which comes a moment after its reader got the error. */
async function complaintAbout(layer: string, file: string): Promise<string> {
  const line = await until(
    () => lab.complaints.findLast((complaint) => complaint['layer'] === layer && complaint['file'] === file),
    () => `no complaint about "${file}" of ${layer} in ${JSON.stringify(lab.complaints)}`,
  );
  return String(line['error']);
}

test('Wrong bytes are never read: EIO, a line in the log, and the next read after the registry is right again works', async () => {
  const files = noiseFiles(4, 6 * mib);
  await using layer = await mountFiles(files);
  layer.spoil();
  for (const from of [0, 3 * mib]) await assert.rejects(layer.read(files[0]!, from), { code: 'EIO' });
  assert.match(await complaintAbout(layer.digest, 'file-0'), /Cannot inflate|Wrong chunk digest/);
  layer.heal();
  for (const from of [0, 3 * mib]) await layer.read(files[0]!, from);
});

test('A registry that lost the blob, or went away, gives EIO, and then data when it is back', async () => {
  const reset: Fault = { kind: 'reset', after: -1 };
  const troubles: [RegExp, (layer: Awaited<ReturnType<typeof mountFiles>>) => void][] = [
    [/404/, ({ digest }) => lab.registry.blobs.delete(digest)],
    [/reset/, () => lab.registry.script({ path: /blobs/ }, ...Array<Fault>(10).fill(reset))],
  ];
  const files = noiseFiles(troubles.length * 2, 5 * mib);
  await using layer = await mountFiles(files);
  for (const [i, [cause, spoil]] of troubles.entries()) {
    const file = files[i * 2]!;
    spoil(layer);
    await assert.rejects(layer.read(file), { code: 'EIO' });
    assert.match(await complaintAbout(layer.digest, file.path), cause);
    layer.heal();
    for (let tries = 0; ; tries++) {
      // Resets that are not used up yet are still to come.
      const failure = await layer.read(file).catch((error: Error) => error);
      if (failure === undefined) break;
      assert.ok(tries < 5, String(failure));
    }
  }
});

test('A registry that stalls in mid-answer delays the reader, but not for ever', async () => {
  const files = noiseFiles(1, 3 * mib);
  await using layer = await mountFiles(files);
  lab.registry.script({ path: /blobs/ }, { kind: 'stall', after: 1000 });
  await layer.read(files[0]!, mib);
});

test('Whatever a registry answers, a reader gets the right bytes or EIO, and all of them in the end', async () => {
  const faults: (() => Fault)[] = [
    () => ({ kind: 'reset', after: -1 }),
    () => ({ kind: 'reset', after: randomInt(mib) }),
    () => ({ kind: 'short', bytes: randomInt(100_000), declared: randomInt(2) === 0 }),
    () => ({ kind: 'long', bytes: 5 }),
    () => ({ kind: 'corrupt' }),
    () => ({ kind: 'content-range', value: 'bytes 0-1/2' }),
    () => ({ kind: 'ignore-range' }),
    () => ({ kind: 'status', status: [200, 206, 302, 403, 404, 429, 500, 503][randomInt(8)]!, body: 'trouble' }),
  ];
  const files = [
    ...noiseFiles(3000, 5000),
    ...noiseFiles(4, 5 * mib).map((file) => ({ ...file, path: `large-${file.path}` })),
  ];
  await using layer = await mountFiles(files);
  const reader = async () => {
    for (let i = 0; i < 400; i++) {
      lab.registry.script({ path: /blobs/ }, faults[randomInt(faults.length)]!());
      const file = files[randomInt(files.length)]!;
      const failure = await layer
        .read(file, randomInt(file.content!.length))
        .catch((error: NodeJS.ErrnoException) => error);
      if (failure !== undefined) assert.equal(failure.code, 'EIO', String(failure));
    }
  };
  await Promise.all(Array.from({ length: 8 }, reader));
  lab.registry.forgetFaults();
  for (const file of files) await layer.read(file, 0, file.content!.length);
});

test('Garbage in place of thousands of files costs neither much memory nor many lines', async () => {
  const files = noiseFiles(20_000, 600);
  await using layer = await mountFiles(files);
  layer.spoil();
  const before = lab.complaints.length;
  const started = performance.now();
  for (const i of [0, 5000, 10_000, 15_000]) await assert.rejects(layer.read(files[i]!), { code: 'EIO' });
  assert.ok(performance.now() - started < 10_000);
  await delay(1500);
  assert.ok(lab.complaints.length - before < 100, `${lab.complaints.length - before} lines`);
  layer.heal();
  await layer.read(files[10_000]!);
  assert.ok((await lab.peakMemory()) < maxMemoryMb, `${await lab.peakMemory()} MB`);
});

test('Chunks far inside long streams do not cost much memory', async () => {
  const inner = 250 * mib;
  const size = 60 * mib;
  const stream = gzipSync(Buffer.alloc(inner + size), { level: 1 });
  const chunkDigest = `sha256:${hash('sha256', Buffer.alloc(size))}`;
  const files: FileSpec[] = Array.from({ length: 4 }, (_, i) => ({ path: `f${i}`, type: 'reg' }));
  const rows = files.map(({ path }, i) => {
    return { name: path, type: 'reg', size, offset: i * stream.length, innerOffset: inner, chunkDigest };
  });
  const { toc, digest: tocDigest } = tocOf(rows);
  const data = Buffer.concat(files.map(() => stream));
  const layer = lab.layer({ bytes: Buffer.concat([data, toc, footer(data.length)]), context: { tocDigest } });
  const root = await lab.mount(await lab.prepare([layer]));
  await Promise.all(
    files.map(async ({ path }) => {
      await using file = await open(join(root, path));
      const { buffer, bytesRead } = await file.read(Buffer.alloc(5000, 1), 0, 5000, size - 4000);
      assert.deepEqual(buffer.subarray(0, bytesRead), Buffer.alloc(4000));
    }),
  );
  await lab.unmount(root);
  assert.ok((await lab.peakMemory()) < maxMemoryMb, `${await lab.peakMemory()} MB`);
});

test('A table of contents that was damaged on its way is requested once more: the image is not pulled', async () => {
  const content = randomBytes(10_000);
  const [first, second] = [0, 1].map((i) =>
    lab.layer(estargzBlob([{ path: `file-${i}`, type: 'reg', content }], mib)),
  ) as [ImageLayer, ImageLayer];
  for (const { digest } of [first, second]) lab.registry.script({ path: new RegExp(digest) }, { kind: 'corrupt' });
  const root = await lab.mount(await lab.prepare([first, second])); // the end of the second one comes with the first
  for (const name of ['file-0', 'file-1']) assert.deepEqual(await readFile(join(root, name)), content);
  await lab.unmount(root);
});

test('A malformed table of contents is refused with the reason, and the daemon goes on', async () => {
  const chunkDigest = `sha256:${'ab'.repeat(32)}`;
  const data = gzipSync(Buffer.alloc(5000));
  const reg = (fields: object) => [{ name: 'f', type: 'reg', size: 100, offset: 0, chunkDigest, ...fields }];
  const bomb = gzipSync(Buffer.alloc(512 * mib));
  const claim = Buffer.alloc(512);
  claim.write('stargz.index.json');
  claim.write('20000000000\0', 124);
  claim.write('0', 156);
  const long = 'n'.repeat(200);
  const text = Array.from(
    { length: 150_000 },
    (_, i) => `{"name":"${i}","type":"symlink","linkName":"${long}${long}${long}${long}"}`,
  );
  const directories = Array.from({ length: 240 }, (_, i) => `{"name":"${i}/${'d/'.repeat(2000)}x","type":"reg"}`);
  const tables: [RegExp, { toc: Buffer; digest: string }][] = [
    [/"size" is -1/, tocOf(reg({ size: -1 }))],
    [
      /too large/,
      tocOfJson(
        Buffer.from('{"entries":[{"name":"f","type":"reg","size":1e30}]}'.replace('1e30', `1${'0'.repeat(30)}`)),
      ),
    ], // prettier-ignore
    [/has a chunk of \d+ bytes/, tocOf(reg({ size: 2 ** 31 }))],
    [/past the end/, tocOf(reg({ offset: 10 ** 9 }))],
    [/into its gzip stream/, tocOf(reg({ innerOffset: 10 ** 15 }))],
    [/no digest/, tocOf(reg({ chunkDigest: undefined }))],
    [
      /leads to itself/,
      tocOf([
        { name: 'a', type: 'hardlink', linkName: 'b' },
        { name: 'b', type: 'hardlink', linkName: 'a' },
      ]),
    ], // prettier-ignore
    [
      /no "\.\.\/\.\.\/etc\/shadow" in this layer/,
      tocOf([{ name: 'a', type: 'hardlink', linkName: '../../etc/shadow' }]),
    ], // prettier-ignore
    [
      /is not a directory in this layer/,
      tocOf([
        { name: 'a', type: 'symlink', linkName: '/etc' },
        { name: 'a/b', type: 'reg' },
      ]),
    ], // prettier-ignore
    [/NUL/, tocOf([{ name: 'a\0b', type: 'reg' }])],
    [/more than 4096 bytes/, tocOf([{ name: `${'d/'.repeat(2500)}x`, type: 'reg' }])],
    [/nested/, tocOfJson(Buffer.from(`{"x":${'['.repeat(1e5)}${']'.repeat(1e5)},"entries":[]}`))],
    [/it is a file called/, { toc: bomb, digest: chunkDigest }],
    [/2147483648 bytes/, { toc: gzipSync(Buffer.concat([claim, Buffer.alloc(512 * mib)])), digest: chunkDigest }],
    [/more than \d+ bytes of names/, tocOfJson(Buffer.from(`{"entries":[${text.join(',')}]}`), 1)],
    [/directories without an entry/, tocOfJson(Buffer.from(`{"entries":[${directories.join(',')}]}`), 1)],
    [/Wrong digest of the table of contents/, { ...tocOf([]), digest: chunkDigest }],
  ];
  for (const [reason, { toc, digest: tocDigest }] of tables) {
    const bytes = Buffer.concat([data, toc, footer(data.length)]);
    assert.equal(await lab.isLazy(lab.layer({ bytes, context: { tocDigest } })), false, String(reason));
    const complaint = lab.complaints.at(-1);
    assert.equal(complaint?.['remote-snapshot-prepared'], 'false');
    assert.match(String(complaint?.['error']), reason);
  }
  const names = ['../../outside', '/absolute', './a/../b//c'];
  const good = estargzBlob(names.map((path) => ({ path, type: 'reg', content: Buffer.from(path) })));
  assert.equal(await lab.isLazy(lab.layer(good)), true);
  assert.ok((await lab.peakMemory()) < maxMemoryMb, `${await lab.peakMemory()} MB`);
});

test('A layer that was planned before it was asked for is refused when its table of contents is not the one that the client wants', async () => {
  const [first, second, third] = ['a', 'b', 'c'].map((name) =>
    estargzBlob(noiseFiles(3, 1000).map((file) => ({ ...file, path: `${name}-${file.path}` }))),
  );
  const image = [lab.layer(first!), lab.layer(second!), lab.layer(third!)];
  const wanted = { ...image[1]!, annotations: image[2]!.annotations! };
  await assert.rejects(lab.prepare([image[0]!, wanted, image[2]!]), /Layer 1 .* is not lazy/);
  const line = lab.complaints.findLast(({ msg }) => msg === 'failed to prepare remote snapshot');
  assert.match(String(line?.['error']), /Wrong digest of the table of contents/);
  const root = await lab.mount(await lab.prepare(image));
  assert.equal((await readFile(join(root, 'b-file-1'))).length, 1000);
  await lab.unmount(root);
  await lab.restart('SIGTERM');
  assert.ok(!existsSync(join(lab.root, 'ahead')));
});
