import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { TableCache } from '../../../src/layers/table-cache.ts';

const megabytes = 1 << 20;

class FakeLayer {
  lastMissMs: number;
  isBusy = false;
  rests = 0;

  constructor(lastMissMs: number) {
    this.lastMissMs = lastMissMs;
  }

  rest(): boolean {
    if (!this.isBusy) this.rests++;
    return !this.isBusy;
  }
}

function setUp(t: TestContext): TableCache {
  const awake = new TableCache();
  t.after(() => awake.close());
  return awake;
}

test('TableCache has those rest that nobody has read for longest, once they take too much, but not who is read', (t) => {
  const awake = setUp(t);
  const now = performance.now();
  const layers = Array.from({ length: 6 }, (_, i) => new FakeLayer(now + i));
  layers[1]!.isBusy = true;
  for (const layer of layers) awake.add(layer, 3 * megabytes);
  assert.deepEqual(
    layers.map(({ rests }) => rests),
    [1, 0, 1, 0, 0, 0],
  );
});

test('TableCache counts a layer once, and no more after it has left', (t) => {
  const awake = setUp(t);
  const [a, b] = [new FakeLayer(1), new FakeLayer(2)];
  for (let i = 0; i < 10; i++) awake.add(a, 10 * megabytes);
  awake.remove(a);
  awake.remove(a);
  awake.add(b, 10 * megabytes);
  assert.equal(a.rests + b.rests, 0);
});

test('TableCache lets a single layer be larger than all of them may be', (t) => {
  const awake = setUp(t);
  const layer = new FakeLayer(1);
  awake.add(layer, 500 * megabytes);
  assert.equal(layer.rests, 0);
});

test('TableCache has a layer rest that nobody reads any more', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const awake = setUp(t);
  const [idle, read] = [new FakeLayer(performance.now() - 3_600_000), new FakeLayer(performance.now())];
  awake.add(idle, 1);
  awake.add(read, 1);
  t.mock.timers.tick(10_000);
  assert.deepEqual([idle.rests, read.rests], [1, 0]);
});

test('TableCache has the last tables collected once no more become garbage, once', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const collections: unknown[] = [];
  const { gc } = globalThis;
  Object.assign(globalThis, { gc: (options: unknown) => collections.push(options) });
  t.after(() => Object.assign(globalThis, { gc }));
  const awake = setUp(t);
  const idle = new FakeLayer(performance.now() - 3_600_000);
  awake.add(idle, megabytes);
  t.mock.timers.tick(5_000);
  assert.equal(idle.rests, 1);
  assert.equal(collections.length, 0);
  t.mock.timers.tick(5_000);
  assert.equal(collections.length, 1);
  t.mock.timers.tick(20_000);
  assert.equal(collections.length, 1);
});
