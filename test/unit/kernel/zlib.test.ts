import assert from 'node:assert/strict';
import { test } from 'node:test';
import { constants, deflateRawSync } from 'node:zlib';
import { loadZlib, openZlib, type RawInflate } from '../../../src/kernel/zlib.ts';

function open(): RawInflate {
  const zlib = openZlib();
  assert.equal(zlib?.origin, 'node');
  return zlib.inflater();
}

const content = Buffer.alloc(100_000, 'some text that repeats itself ');

test('RawInflate inflates into the memory that it is given, and into no other', () => {
  using inflater = open();
  for (const output of [Buffer.alloc(60), new Uint8Array(60), new Uint8Array(new SharedArrayBuffer(60))]) {
    output.fill(7);
    inflater.reset();
    const step = inflater.step(deflateRawSync(content), 0, output, 10, 50, false);
    assert.deepEqual(Buffer.from(output.subarray(10, 50)), content.subarray(0, 40));
    assert.equal(step.produced, 40);
    assert.ok(output.subarray(0, 10).every((byte) => byte === 7) && output.subarray(50).every((byte) => byte === 7));
  }
});

test('RawInflate stops at the end of each block, and at that of the last one', () => {
  using inflater = open();
  const halves = deflateRawSync(content.subarray(0, 50_000), { finishFlush: constants.Z_FULL_FLUSH });
  const deflate = Buffer.concat([halves, deflateRawSync(content.subarray(50_000))]);
  const output = Buffer.alloc(content.length + 1);
  const stops = [];
  let at = 0;
  let from = 0;
  for (let stop = ''; stop !== 'end'; ) {
    const step = inflater.step(deflate, at, output, from, output.length, true);
    stop = step.stop;
    at += step.consumed;
    from += step.produced;
    stops.push(stop);
    if (from === 50_000) assert.deepEqual(inflater.window(), output.subarray(from - (32 << 10), from));
  }
  assert.deepEqual(stops, ['block', 'block', 'end']);
  assert.ok(output.subarray(0, from).equals(content));
  assert.equal(at, deflate.length);
});

test('RawInflate says what is wrong with the data, and can be used again', () => {
  using inflater = open();
  const output = Buffer.alloc(100);
  assert.throws(() => inflater.step(Buffer.from([0xff, 0xff]), 0, output, 0, 100, false), {
    code: 'DataLoss',
    message: 'The deflate data is damaged: invalid block type',
  });
  inflater.reset();
  inflater.step(deflateRawSync(content), 0, output, 0, 100, false);
  assert.ok(output.equals(content.subarray(0, 100)));
  inflater[Symbol.dispose]();
  assert.throws(() => inflater.reset(), { code: 'FailedPrecondition' });
});

test('loadZlib finds the zlib of the machine, which does the same', () => {
  using inflater = loadZlib('libz.so.1')?.inflater();
  assert.ok(inflater !== undefined);
  const deflate = deflateRawSync(content);
  const output = Buffer.alloc(content.length + 1);
  const { consumed, produced, stop } = inflater.step(deflate, 0, output, 0, output.length, false);
  assert.deepEqual([consumed, produced, stop], [deflate.length, content.length, 'end']);
  assert.ok(output.subarray(0, produced).equals(content));
});
