import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type ChunkTable, chunkTable } from '../../../../src/chunks/chunk-table.ts';
import { membersCodec } from '../../../../src/formats/gzip/members-codec.ts';

interface Row {
  inner: number;
  size: number;
}

/** A table of rows of one stream, with the digests that they have in `output`. */
function tableOf(rows: readonly Row[], output: Buffer, streamEnd: number): ChunkTable {
  const table = chunkTable(undefined, rows.length);
  for (const [row, { inner, size }] of rows.entries()) {
    table.innerOffset[row] = inner;
    table.size[row] = size;
    table.streamEnd[row] = streamEnd;
    table.digest.set(hash('sha256', output.subarray(inner, inner + size), 'buffer'), row * 32);
  }
  return table;
}

/** What becomes of each row: the digest of its content, or the message of its error. */
async function unpackAll(table: ChunkTable, gzip: Buffer): Promise<string[]> {
  const outcomes: string[] = [];
  for await (const unpacked of membersCodec.unpack({
    table,
    chunks: { first: 0, last: table.length },
    bytes: gzip,
    blobOffset: 0,
  })) {
    outcomes[unpacked.chunk] = 'error' in unpacked ? unpacked.error.message : hash('sha256', unpacked.content);
  }
  return outcomes;
}

const mib = 1 << 20;
const lengths = { short: 3 * mib, long: 40 * mib };

for (const [name, length] of Object.entries(lengths)) {
  const output = Buffer.alloc(length);
  for (let at = 0; at < length; at += 100_003) output.set(randomBytes(40), at);
  const gzip = gzipSync(output);
  const expected = ({ inner, size }: Row) => hash('sha256', output.subarray(inner, inner + size));

  test(`membersCodec.unpack() gives the rows of a ${name} stream in any order, even if they share bytes`, async () => {
    const rows = [
      { inner: length - 5 * 512, size: 2000 },
      { inner: 0, size: 1 },
      { inner: 100, size: mib },
      { inner: 100, size: mib },
      { inner: 100 + mib, size: mib + 7 },
    ];
    assert.deepEqual(await unpackAll(tableOf(rows, output, gzip.length), gzip), rows.map(expected));
  });

  test(`membersCodec.unpack() tells the rows of a ${name} stream that are wrong from those that are right`, async () => {
    const rows = [
      { inner: 512, size: 600 },
      { inner: mib, size: 700 },
      { inner: length - 100, size: 200 },
    ];
    const table = tableOf(rows, output, gzip.length);
    table.digest[32]! ^= 1;
    const [first, second, third] = await unpackAll(table, gzip);
    assert.equal(first, expected(rows[0]!));
    assert.match(second!, /Wrong chunk digest/);
    assert.match(third!, /shorter than its chunk: 100 of 200/);
  });

  test(`membersCodec.unpack() reports every row of a ${name} stream that cannot be inflated`, async () => {
    const rows = [
      { inner: 0, size: 600 },
      { inner: length - 700, size: 700 },
    ]; // prettier-ignore
    const table = tableOf(rows, output, gzip.length);
    for (const broken of [Buffer.alloc(gzip.length), Buffer.concat([gzip.subarray(0, 12), randomBytes(5000)])]) {
      for (const outcome of await unpackAll(table, broken)) assert.match(outcome, /^Cannot inflate|shorter than/);
    }
  });
}

test('membersCodec.unpack() reads a long stream with little memory', async () => {
  const output = Buffer.alloc(320 * mib);
  const gzip = gzipSync(output, { level: 1 });
  const table = tableOf([{ inner: 250 * mib, size: 1000 }], output, gzip.length);
  const before = process.resourceUsage().maxRSS;
  assert.deepEqual(await unpackAll(table, gzip), [hash('sha256', Buffer.alloc(1000))]);
  assert.ok(process.resourceUsage().maxRSS - before < 100 * 1024, 'in KiB');
});
