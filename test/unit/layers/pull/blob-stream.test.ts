import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { BlobStream, segmentBytes } from '../../../../src/layers/pull/blob-stream.ts';
import { MemoryBlob } from '../../../support/memory-blob.ts';

const content = randomBytes(5 * segmentBytes + 12_345);
const far = { connections: 3, firstByteMs: 80 };

async function readAll(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const data of stream) pieces.push(data);
  return Buffer.concat(pieces);
}

function open(blob: MemoryBlob, options: Partial<ConstructorParameters<typeof BlobStream>[0]>): BlobStream {
  const { signal } = new AbortController();
  return new BlobStream({ blob, end: content.length, ...far, signal, onBytes: () => undefined, ...options });
}

test('BlobStream gives the bytes in order, whichever request is first', async () => {
  const blob = new MemoryBlob(content);
  blob.delayMs = (start) => (start === 0 ? 50 : 1);
  let come = 0;
  await using stream = open(blob, { onBytes: (bytes) => (come += bytes) });
  assert.ok((await readAll(stream)).equals(content));
  assert.equal(come, content.length);
  assert.equal(blob.mostAtOnce, 3);
  assert.equal(blob.requests, 6);
});

test('BlobStream has one request for all if answers begin at once', async () => {
  const blob = new MemoryBlob(content);
  await using stream = open(blob, { firstByteMs: 1 });
  assert.ok((await readAll(stream)).equals(content));
  assert.equal(blob.requests, 1);
});

test('BlobStream holds no more than a segment for each request', async () => {
  for (const firstByteMs of [1, 80]) {
    const blob = new MemoryBlob(content);
    let come = 0;
    await using stream = open(blob, { firstByteMs, onBytes: (bytes) => (come += bytes) });
    for (let i = 0; i < 5000; i++) await setImmediate();
    const most = (firstByteMs === 1 ? 1 : 3) * segmentBytes;
    assert.ok(come <= most + MemoryBlob.pieceBytes, `${come}`);
    assert.ok((await readAll(stream)).equals(content));
  }
});

test('BlobStream fails with a request, after what came before', async () => {
  const blob = new MemoryBlob(content);
  blob.failAt = 2 * segmentBytes + 100_000;
  await using stream = open(blob, {});
  let read = 0;
  await assert.rejects(async () => {
    for await (const data of stream) read += data.length;
  }, /no more/);
  assert.ok(read >= 2 * segmentBytes && read <= blob.failAt);
});

test('BlobStream ends its requests when it is disposed of, and when its signal aborts', async () => {
  const blob = new MemoryBlob(content);
  const stream = open(blob, {});
  await setImmediate();
  await stream[Symbol.asyncDispose]();
  assert.equal(blob.underWay, 0);
  const abort = new AbortController();
  const other = open(blob, { signal: abort.signal });
  const reading = readAll(other);
  abort.abort(new Error('given up'));
  await assert.rejects(reading, /given up/);
  await other[Symbol.asyncDispose]();
  assert.equal(blob.underWay, 0);
});
