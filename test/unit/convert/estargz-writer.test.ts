import assert from 'node:assert/strict';
import { createHash, hash } from 'node:crypto';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { type EstargzResult, writeEstargz } from '../../../src/convert/estargz-writer.ts';
import { GzipPool } from '../../../src/convert/gzip-pool.ts';
import { readFooter } from '../../../src/formats/estargz/footer.ts';
import { readToc } from '../../../src/formats/estargz/toc.ts';
import { buildTar, inPieces, type TarSpec } from '../../support/tar-builder.ts';
import fc from '../../support/properties.ts';

interface Row {
  name: string;
  type: string;
  size?: number;
  offset?: number;
  digest?: string;
  chunkOffset?: number;
  chunkSize?: number;
  chunkDigest?: string;
}

interface Written {
  blob: Buffer;
  result: EstargzResult;
  rows: Row[];
}

const pool = new GzipPool(6, 2);
after(() => pool[Symbol.asyncDispose]());

async function write(tar: Buffer, chunkBytes = 4 * 1024 * 1024): Promise<Written> {
  const parts: Uint8Array[] = [];
  const sink = (data: Uint8Array): Promise<void> => {
    parts.push(data);
    return Promise.resolve();
  };
  const result = await writeEstargz(inPieces(tar, 10_000), sink, { pool, chunkBytes });
  const blob = Buffer.concat(parts);
  const footer = blob.subarray(-51).toString('latin1');
  const tocOffset = parseInt(footer.slice(16, 32), 16);
  const toc = gunzipSync(blob.subarray(tocOffset));
  const tocBytes = parseInt(toc.toString('latin1', 124, 135), 8);
  const json = toc.subarray(512, 512 + tocBytes);
  assert.equal(toc.toString('latin1', 0, 100).replace(/\0+$/, ''), 'stargz.index.json');
  assert.equal(result.tocDigest, sha256(json));
  return { blob, result, rows: JSON.parse(json.toString('latin1')).entries };
}

function sha256(data: Uint8Array): string {
  return `sha256:${hash('sha256', data)}`;
}

/** The content of a file by the TOC: each chunk from the start of its member, verified. */
function readFile({ blob, rows }: Written, name: string): Buffer {
  const first = rows.findLastIndex((row) => row.name === name && row.type === 'reg');
  const file = rows[first];
  assert.ok(file);
  const parts: Buffer[] = [];
  for (let i = first; i === first || rows[i]?.type === 'chunk'; i++) {
    const { offset, chunkOffset = 0, chunkSize, chunkDigest } = rows[i] ?? assert.fail();
    if (offset === undefined) break;
    const size = chunkSize ?? (file.size ?? 0) - chunkOffset;
    assert.equal(
      chunkOffset,
      parts.reduce((sum, part) => sum + part.length, 0),
    );
    const chunk = gunzipSync(blob.subarray(offset)).subarray(0, size);
    assert.equal(chunkDigest, sha256(chunk));
    parts.push(chunk);
  }
  const data = Buffer.concat(parts);
  assert.equal(data.length, file.size ?? 0);
  assert.equal(file.digest, sha256(data));
  return data;
}

/** Bytes that do not compress. */
function noise(bytes: number): Buffer {
  return createHash('shake256', { outputLength: bytes }).update('noise').digest();
}

test('writeEstargz() keeps the tar and adds the TOC after its end', async () => {
  const tar = buildTar([
    { name: 'd/', typeflag: '5' },
    { name: 'd/f', data: Buffer.from('hello'), pax: { comment: 'kept', 'SCHILY.xattr.user.x': 'y' } },
    { name: 'empty' },
  ]);
  const { blob, result, rows } = await write(tar);
  const inflated = gunzipSync(blob);
  assert.deepEqual(inflated.subarray(0, tar.length), tar);
  assert.equal(result.digest, sha256(blob));
  assert.equal(result.size, blob.length);
  assert.equal(result.diffId, sha256(inflated));
  assert.equal(result.uncompressedSize, inflated.length);
  assert.deepEqual(
    rows.map(({ name, type }) => [name, type]),
    [
      ['d/', 'dir'],
      ['d/f', 'reg'],
      ['empty', 'reg'],
    ],
  );
  assert.equal(rows[2]?.digest, sha256(Buffer.alloc(0)));
  assert.equal(rows[2]?.offset, undefined);
});

test("writeEstargz() writes the footer of the format's description", async () => {
  const { blob } = await write(buildTar([]));
  const footer = blob.subarray(-51);
  assert.equal(footer.toString('hex', 0, 16), '1f8b08040000000000ff1a0053471600');
  assert.match(footer.toString('latin1', 16, 38), /^[0-9a-f]{16}STARGZ$/);
  assert.equal(footer.toString('hex', 38), '010000ffff0000000000000000');
  assert.equal(gunzipSync(footer).length, 0);
});

test('writeEstargz() cuts files at the chunk size', async () => {
  const files = [0, 1, 999, 1000, 1001, 2000, 4500].map((size) => ({ name: `f${size}`, data: noise(size) }));
  const written = await write(buildTar(files), 1000);
  for (const { name, data } of files) assert.deepEqual(readFile(written, name), data);
  const chunksOf = (name: string) => {
    const first = written.rows.findIndex((row) => row.name === name && row.type === 'reg');
    const next = written.rows.findIndex((row, i) => i > first && row.type !== 'chunk');
    return written.rows
      .slice(first, next === -1 ? undefined : next)
      .map(({ chunkSize, chunkOffset }) => [chunkOffset, chunkSize]);
  };
  const none = undefined;
  assert.deepEqual(chunksOf('f999'), [[none, none]]);
  assert.deepEqual(chunksOf('f1000'), [[none, 1000]]);
  assert.deepEqual(chunksOf('f1001'), [
    [none, 1000],
    [1000, none],
  ]);
  assert.deepEqual(chunksOf('f2000'), [
    [none, 1000],
    [1000, 1000],
  ]);
});

test('writeEstargz() drops the TOC and the landmarks of an earlier writer', async () => {
  const files: TarSpec[] = [
    { name: 'a', data: Buffer.from('a') },
    { name: './.prefetch.landmark', data: Buffer.from([15]) },
    { name: 'stargz.index.json', data: Buffer.from('{}') },
    { name: 'd/stargz.index.json', data: Buffer.from('kept') },
    { name: '.no.prefetch.landmark', data: Buffer.from([15]) },
  ];
  const { blob, rows } = await write(buildTar(files));
  const kept = buildTar(files.filter(({ name }) => name === 'a' || name.startsWith('d/')));
  assert.deepEqual(gunzipSync(blob).subarray(0, kept.length), kept);
  assert.deepEqual(
    rows.map(({ name }) => name),
    ['a', 'd/stargz.index.json'],
  );
});

test('writeEstargz() drops what follows the end of the archive', async () => {
  const tar = buildTar([{ name: 'a', data: Buffer.from('a') }]);
  const plain = await write(tar);
  const twice = await write(Buffer.concat([tar, Buffer.alloc(9000), buildTar([{ name: 'b' }])]));
  assert.deepEqual(twice.result, plain.result);
});

test('writeEstargz() is idempotent: what it wrote and inflates converts to the same blob', async () => {
  const { blob, result } = await write(buildTar([{ name: 'a', data: noise(5000) }]));
  assert.deepEqual((await write(gunzipSync(blob))).result, result);
});

test('writeEstargz() takes the last of two files with one name', async () => {
  const written = await write(
    buildTar([
      { name: 'a', data: noise(3000) },
      { name: './a', data: Buffer.from('last') },
    ]),
    1000,
  );
  assert.deepEqual(readFile(written, './a'), Buffer.from('last'));
  assert.equal(written.rows.length, 1);
});

test('writeEstargz() cuts long runs of headers', async () => {
  const specs = Array.from({ length: 40_000 }, (_, i) => ({ name: `d${i}/`, typeflag: '5' }));
  const tar = buildTar([...specs, { name: 'last', data: Buffer.from('last') }]);
  const written = await write(tar);
  assert.deepEqual(gunzipSync(written.blob).subarray(0, tar.length), tar);
  assert.deepEqual(readFile(written, 'last'), Buffer.from('last'));
});

test('writeEstargz() keeps the content of any tree', async () => {
  const spec = fc.record({
    name: fc.stringMatching(/^[a-z\xe0-\xff"\\<]{1,30}$/),
    size: fc.integer({ min: 0, max: 10_000 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(spec, { selector: ({ name }) => name }),
      fc.integer({ min: 100, max: 5000 }),
      async (specs, chunkBytes) => {
        const files = specs.map(({ name, size }) => ({ name, data: noise(size) }));
        const tar = buildTar(files);
        const written = await write(tar, chunkBytes);
        assert.deepEqual(gunzipSync(written.blob).subarray(0, tar.length), tar);
        for (const { name, data } of files) assert.deepEqual(readFile(written, name), data);
      },
    ),
    { numRuns: 30 },
  );
});

test('writeEstargz() passes errors of the source and of the sink on', async () => {
  const tar = buildTar([{ name: 'a', data: noise(5_000_000) }]);
  const options = { pool, chunkBytes: 1_000_000 };
  const nowhere = (): Promise<void> => Promise.resolve();
  await assert.rejects(writeEstargz(inPieces(tar.subarray(0, 2_000_000)), nowhere, options), { code: 'DataLoss' });
  await assert.rejects(
    writeEstargz(inPieces(tar), () => Promise.reject(new Error('disk full')), options),
    /disk full/,
  );
  await assert.rejects(writeEstargz(inPieces(tar), nowhere, { pool, chunkBytes: 0 }), { code: 'InvalidArgument' });
  await assert.rejects(writeEstargz(inPieces(tar), nowhere, { ...options, signal: AbortSignal.abort() }), {
    name: 'AbortError',
  });
});

test('GzipPool refuses a level that gzip does not have', () => {
  for (const level of [0, 10, 1.5, NaN]) assert.throws(() => new GzipPool(level), { code: 'InvalidArgument' });
});

test('writeEstargz makes a readable layer of an empty archive, however long the archive is', async () => {
  for (const zeros of [0, 1024, 10_240, 1 << 20]) {
    const { blob, result } = await write(Buffer.alloc(zeros));
    const { tocOffset, tocEnd } = readFooter(blob, blob.length);
    const context = { tocDigest: result.tocDigest, blobSize: blob.length, tocOffset };
    assert.deepEqual(readToc(blob.subarray(tocOffset, tocEnd), context).entries, [], `${zeros} zeros`);
  }
});
