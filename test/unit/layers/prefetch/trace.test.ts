import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { membersCodec } from '../../../../src/formats/gzip/members-codec.ts';
import { parseTrace, chunksOfTrace, type Trace, TraceStore, traceOf } from '../../../../src/layers/prefetch/trace.ts';
import { chunkedBlob } from '../../../support/chunked-blob.ts';
import fc from '../../../support/properties.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const big = () => randomBytes(40_000);

const { bytesNeeded } = membersCodec;

test('traceOf() and chunksOfTrace() give back the rows that were read', () => {
  const { table } = chunkedBlob([big(), big(), big(), big(), big(), big()]);
  const read = Uint8Array.of(0, 1, 1, 0, 0, 1);
  const trace = traceOf(digest, table, bytesNeeded, read);
  assert.equal(trace.ranges.length, 2);
  assert.deepEqual(chunksOfTrace(trace, table), [
    { first: 1, last: 3 },
    { first: 5, last: 6 },
  ]);
  assert.deepEqual(parseTrace(JSON.stringify(trace)), trace);
});

test('traceOf() joins what is not worth a range of its own', () => {
  const { table } = chunkedBlob([big(), randomBytes(100), big()]);
  assert.equal(traceOf(digest, table, bytesNeeded, Uint8Array.of(1, 0, 1)).ranges.length, 1);
});

test('parseTrace() refuses what is not a trace', () => {
  const of = (trace: unknown) => () => parseTrace(JSON.stringify(trace));
  const ranges = [[0, 5]];
  for (const wrong of [
    null,
    [],
    { version: 2, digest, ranges },
    { version: 1, digest: '../x', ranges },
    { version: 1, digest, ranges: [[5, 5]] },
    {
      version: 1,
      digest,
      ranges: [
        [0, 5],
        [4, 9],
      ],
    },
    { version: 1, digest, ranges: [[-1, 5]] },
    { version: 1, digest, ranges: [[0, 1.5]] },
    { version: 1, digest, ranges: Array.from({ length: 5000 }, (_, i) => [i * 2, i * 2 + 1]) },
  ]) {
    assert.throws(of(wrong), { code: 'DataLoss' }, JSON.stringify(wrong)?.slice(0, 80));
  }
  assert.throws(() => parseTrace('{'), { code: 'DataLoss' });
});

test('parseTrace() throws nothing but what it promises', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      try {
        parseTrace(text);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'DataLoss');
      }
    }),
  );
});

test('TraceStore keeps traces by digest, and gives none if a file is broken', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'lazypull-trace-'));
  t.after(() => rm(root, { recursive: true }));
  const store = new TraceStore(root);
  assert.deepEqual(await store.digests(), []);
  assert.equal(await store.load(digest), undefined);
  const trace: Trace = { version: 1, digest, ranges: [[1, 2]] };
  await store.save(trace);
  assert.deepEqual(await store.load(digest), trace);
  assert.deepEqual(await store.digests(), [digest]);
  await writeFile(join(root, 'traces', `${'a'.repeat(64)}.json`), '{"version":');
  assert.equal(await store.load(digest), undefined);
});

test('TraceStore says which directory cannot be used', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'lazypull-traces-'));
  t.after(() => rm(root, { recursive: true }));
  await writeFile(join(root, 'traces'), '');
  const store = new TraceStore(root);
  await assert.rejects(store.digests(), { message: `Cannot read the traces in "${join(root, 'traces')}"` });
  await assert.rejects(store.load(digest), { message: `Cannot read the trace of the layer ${digest}` });
  const { table } = chunkedBlob([big()]);
  const trace = traceOf(digest, table, bytesNeeded, Uint8Array.of(1));
  await assert.rejects(store.save(trace), { message: `Cannot write a trace into "${join(root, 'traces')}"` });
});
