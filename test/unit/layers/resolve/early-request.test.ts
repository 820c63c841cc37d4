import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { EarlyRequest } from '../../../../src/layers/resolve/early-request.ts';
import { FakeBlob } from '../../../support/chunked-blob.ts';

const bytes = randomBytes(200_000);
const parts = [
  { start: 10, end: 50_000 },
  { start: 60_000, end: 60_001 },
];

async function read(answer: AsyncIterable<{ part: number; data: Buffer }>): Promise<Buffer[]> {
  const pieces: Buffer[][] = [];
  for await (const { part, data } of answer) (pieces[part] ??= []).push(data);
  return pieces.map((list) => Buffer.concat(list));
}

const expected = parts.map(({ start, end }) => bytes.subarray(start, end));

test('EarlyRequest asks at once, and gives the answer once', async () => {
  const blob = new FakeBlob(bytes);
  const early = new EarlyRequest(blob, parts);
  await setImmediate();
  assert.deepEqual(blob.requests, [parts[0]]);
  const same = early.of(blob);
  assert.deepEqual(await read(same.ranges(parts)), expected);
  assert.deepEqual(blob.requests, parts);
  assert.deepEqual(await read(same.ranges(parts)), expected);
  assert.equal(blob.requests.length, 4);
});

test('EarlyRequest leaves other ranges to the blob, and ends its request when it is abandoned', async () => {
  const blob = new FakeBlob(bytes);
  let pieces = 0;
  blob.beforePiece = () => Promise.resolve(void pieces++);
  const early = new EarlyRequest(blob, parts);
  const other = [{ start: 10, end: 50_001 }];
  const whole = await read(early.of(blob).ranges(other));
  assert.deepEqual(whole, [bytes.subarray(10, 50_001)]);
  const asked = pieces;
  early.abandon();
  assert.deepEqual(await read(early.of(blob).ranges(parts)), expected);
  assert.ok(pieces - asked <= 5, 'the abandoned request went on');
});

test('EarlyRequest tells who takes the answer what went wrong', async () => {
  const blob = new FakeBlob(bytes);
  blob.beforePiece = () => Promise.reject(new Error('the cable is cut'));
  const early = new EarlyRequest(blob, parts);
  await setImmediate();
  await assert.rejects(read(early.of(blob).ranges(parts)), /the cable is cut/);
});

test('EarlyRequest ends with the signal of who took the answer', async () => {
  const blob = new FakeBlob(bytes);
  const controller = new AbortController();
  const answer = new EarlyRequest(blob, parts).of(blob).ranges(parts, controller.signal)[Symbol.asyncIterator]();
  await answer.next();
  controller.abort(new Error('closed'));
  await assert.rejects(async () => {
    while (!(await answer.next()).done);
  });
});
