import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Clock, type Flow, Lane } from '../../../../bench/relay/lane.ts';

/** A clock that goes from one wake-up to the next. */
class TestClock implements Clock {
  time = 0;
  readonly #calls = new Set<{ readonly at: number; readonly call: () => void }>();

  now(): number {
    return this.time;
  }

  wake(ms: number, call: () => void): () => void {
    const entry = { at: this.time + Math.max(0, ms), call };
    this.#calls.add(entry);
    return () => this.#calls.delete(entry);
  }

  /** Runs until nothing waits any more. */
  run(): void {
    for (;;) {
      const [next] = [...this.#calls].toSorted((a, b) => a.at - b.at);
      if (next === undefined) return;
      this.#calls.delete(next);
      this.time = Math.max(this.time, next.at);
      next.call();
    }
  }
}

interface Arrival {
  readonly at: number;
  readonly flow: string;
  readonly bytes: number | 'end';
}

function laneWith(bytesPerMs: number, delayMs: number) {
  const clock = new TestClock();
  const lane = new Lane(bytesPerMs, delayMs, clock);
  const arrivals: Arrival[] = [];
  const flow = (name: string): Flow =>
    lane.flow(
      (parcel) => arrivals.push({ at: Math.round(clock.time), flow: name, bytes: parcel?.length ?? 'end' }),
      () => {},
    );
  return { clock, arrivals, flow };
}

describe('A lane', () => {
  test('takes the time of the bytes, then the delay', () => {
    const { clock, arrivals, flow } = laneWith(100, 40);
    flow('a').send(Buffer.alloc(1000));
    clock.run();
    assert.deepEqual(arrivals, [{ at: 50, flow: 'a', bytes: 1000 }]);
  });

  test('delivers what one flow sends in order, its end last', () => {
    const { clock, arrivals, flow } = laneWith(Infinity, 5);
    const a = flow('a');
    for (const bytes of [3, 1, 2]) a.send(Buffer.alloc(bytes));
    a.send(null);
    clock.run();
    assert.deepEqual(
      arrivals.map(({ bytes }) => bytes),
      [3, 1, 2, 'end'],
    );
  });

  test('divides its bandwidth among the flows that send', () => {
    const { clock, arrivals, flow } = laneWith(10, 0);
    const a = flow('a');
    const b = flow('b');
    for (let i = 0; i < 4; i++) a.send(Buffer.alloc(100));
    b.send(Buffer.alloc(100));
    clock.run();
    assert.deepEqual(
      arrivals.map(({ at, flow: name }) => `${name} ${at}`),
      ['a 10', 'a 20', 'b 30', 'a 40', 'a 50'],
    );
  });

  test('loses no bandwidth when it is woken late', () => {
    const { clock, arrivals, flow } = laneWith(10, 0);
    const a = flow('a');
    for (let i = 0; i < 10; i++) a.send(Buffer.alloc(100));
    clock.time = 60;
    clock.run();
    assert.equal(arrivals.at(-1)?.at, 100);
  });

  test('saves up nothing while nobody sends', () => {
    const { clock, arrivals, flow } = laneWith(10, 0);
    clock.time = 1000;
    flow('a').send(Buffer.alloc(100));
    clock.run();
    assert.equal(arrivals[0]?.at, 1010);
  });

  test('asks a flow to pause while much of it waits', () => {
    const { clock, flow } = laneWith(1000, 10);
    const a = flow('a');
    assert.equal(a.full, false);
    for (let i = 0; i < 32; i++) a.send(Buffer.alloc(64 * 1024));
    assert.equal(a.full, true);
    clock.run();
    assert.equal(a.full, false);
  });
});
