import assert from 'node:assert/strict';
import { PerformanceObserver, type PerformanceEntry } from 'node:perf_hooks';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { settledBuffers } from '../../support/settled-buffers.ts';

// As with `--expose-gc`, which has to be there when a pressure is made.
setFlagsFromString('--expose-gc');
Object.assign(globalThis, { gc: runInNewContext('gc') as unknown });
const { BufferPressure, stepsMs } = await import('../../../src/util/buffer-pressure.ts');

const majorKind = 4;
const isForcedFlag = 4;

/**
 * Has buffers of 32 MiB dropped that have been there for long, and lets `collect` begin. @returns what is left of them,
 * and the whole collections
 */
async function drop(collect: () => void): Promise<{ leftBytes: number; majors: { isForced: boolean }[] }> {
  await sleep(2 * stepsMs + 100); // the steps of the test before are over, those of a second collection too
  const majors: { isForced: boolean }[] = [];
  const observer = new PerformanceObserver((list) => {
    for (const { detail } of list.getEntries() as (PerformanceEntry & { detail: { kind: number; flags: number } })[]) {
      if (detail.kind === majorKind) majors.push({ isForced: (detail.flags & isForcedFlag) !== 0 });
    }
  });
  const pressure = new BufferPressure();
  const before = await settledBuffers();
  let buffers: Buffer[] = Array.from({ length: 8 }, () => Buffer.alloc(4 << 20));
  pressure.dropped(1 << 30); // they are old now
  pressure.dropped(1 << 30);
  assert.ok(process.memoryUsage().arrayBuffers - before >= 32 << 20);
  observer.observe({ entryTypes: ['gc'] });
  buffers = [];
  collect();
  for (let i = 0; i < 200 && process.memoryUsage().arrayBuffers - before > 1 << 20; i++) await sleep(10);
  await sleep(20); // the observer hears of it
  observer.disconnect();
  assert.equal(buffers.length, 0);
  return { leftBytes: process.memoryUsage().arrayBuffers - before, majors };
}

test('BufferPressure in steps collects old buffers without one long pause, and soon again', async () => {
  const pressure = new BufferPressure(true);
  for (let i = 0; i < 2; i++) {
    const { leftBytes, majors } = await drop(() => pressure.rest());
    assert.ok(leftBytes <= 1 << 20, `${leftBytes} bytes are left`);
    assert.ok(majors.length > 0);
    assert.deepEqual(
      majors.filter(({ isForced }) => isForced),
      [],
    );
  }
});

test('BufferPressure goes on in steps after collections of the young generation', async () => {
  const pressure = new BufferPressure(true);
  const { leftBytes, majors } = await drop(() => {
    pressure.rest();
    pressure.dropped(1 << 30);
    pressure.released(1 << 30);
    pressure.rest();
  });
  assert.ok(leftBytes <= 1 << 20, `${leftBytes} bytes are left`);
  assert.deepEqual(
    majors.filter(({ isForced }) => isForced),
    [],
  );
});

test('BufferPressure.rest collects once more what was dropped while it collected', async () => {
  const pressure = new BufferPressure(true);
  pressure.rest();
  let buffers: Buffer[] = Array.from({ length: 8 }, () => Buffer.alloc(4 << 20));
  const before = process.memoryUsage().arrayBuffers;
  await sleep(stepsMs / 2); // the collection has marked them by now
  assert.equal(buffers.length, 8);
  buffers = [];
  pressure.rest();
  for (let i = 0; i < 300 && before - process.memoryUsage().arrayBuffers < 31 << 20; i++) await sleep(10);
  assert.ok(before - process.memoryUsage().arrayBuffers >= 31 << 20);
});

test('BufferPressure.released collects once more what was released while it collected', async () => {
  const pressure = new BufferPressure(true);
  await sleep(2 * stepsMs + 100);
  pressure.rest();
  let buffers: Buffer[] = Array.from({ length: 8 }, () => Buffer.alloc(4 << 20));
  const before = process.memoryUsage().arrayBuffers;
  await sleep(stepsMs / 2);
  assert.equal(buffers.length, 8);
  buffers = [];
  pressure.released(32 << 20);
  for (let i = 0; i < 300 && before - process.memoryUsage().arrayBuffers < 31 << 20; i++) await sleep(10);
  assert.ok(before - process.memoryUsage().arrayBuffers >= 31 << 20);
});

test('BufferPressure collects at once in a thread without an event loop', async () => {
  const pressure = new BufferPressure();
  const { leftBytes, majors } = await drop(() => pressure.released(1 << 30));
  assert.ok(leftBytes <= 1 << 20, `${leftBytes} bytes are left`);
  assert.ok(majors.some(({ isForced }) => isForced));
});
