import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Background, type Fillable } from '../../../../src/layers/fetch/background.ts';
import { until } from '../../../support/until.ts';

/** A layer of `parts` parts of 100 bytes. */
class FakeLayer implements Fillable {
  lastMissMs = performance.now();
  filled = 0;
  broken = false;
  /** Parts from an earlier life. */
  unverified = 0;
  readonly #parts: number;

  constructor(parts: number) {
    this.#parts = parts;
  }

  get complete(): boolean {
    return this.filled === this.#parts;
  }

  verifySome(): Promise<number> {
    if (this.unverified === 0) return Promise.resolve(0);
    this.unverified--;
    return Promise.resolve(100);
  }

  fillSome(): Promise<number> {
    assert.equal(this.unverified, 0, 'what is here is verified before more is fetched');
    if (this.broken) return Promise.resolve(0);
    this.filled++;
    return Promise.resolve(100);
  }
}

const quick = { quietMs: 40, maxWaitMs: 400, pollMs: 5, restMs: 100 };

test('Background completes layers when nobody waits for data', async () => {
  const background = new Background(undefined, () => true, quick);
  const [a, b] = [new FakeLayer(3), new FakeLayer(5)];
  background.add(a);
  background.add(b);
  assert.equal(a.filled, 0, 'it lets the readers of a new layer go first');
  await until(() => a.complete && b.complete);
  await background.close();
});

test('Background verifies what is here from an earlier life, and then fetches the rest', async () => {
  const background = new Background(undefined, () => true, quick);
  const layer = new FakeLayer(3);
  layer.unverified = 4;
  background.add(layer);
  await until(() => layer.complete);
  await background.close();
});

test('Background waits while readers wait, and yet does not starve', async () => {
  const background = new Background(undefined, () => true, quick);
  const layer = new FakeLayer(1);
  Object.defineProperty(layer, 'lastMissMs', { get: () => performance.now() }); // a reader that never rests
  const started = performance.now();
  background.add(layer);
  await until(() => layer.complete);
  assert.ok(performance.now() - started >= quick.maxWaitMs * 0.9);
  await background.close();
});

test('Background comes back to a layer that could not be filled, and goes on with the others', async () => {
  const background = new Background(undefined, () => true, quick);
  const [broken, sound] = [new FakeLayer(2), new FakeLayer(2)];
  broken.broken = true;
  background.add(broken);
  background.add(sound);
  await until(() => sound.complete);
  assert.equal(broken.filled, 0);
  broken.broken = false;
  await until(() => broken.complete);
  await background.close();
});

test('Background keeps to a rate, and stops when it is closed', async () => {
  const background = new Background(1000, () => true, quick);
  const layer = new FakeLayer(1000);
  background.add(layer);
  await until(() => layer.filled > 0);
  await sleep(250);
  assert.ok(layer.filled <= 6, `${layer.filled} parts of 100 bytes at 1000 bytes a second`);
  await background.close();
  const { filled } = layer;
  await sleep(150);
  assert.equal(layer.filled, filled);
});

test('Background leaves a layer alone that comes after it was closed, and keeps nothing busy', async () => {
  const background = new Background(undefined, () => true, quick);
  await background.close();
  let looks = 0;
  const layer = Object.defineProperty(new FakeLayer(3), 'lastMissMs', {
    get() {
      assert.ok(++looks < 1000, 'it goes round and round, and lets nothing else happen');
      return 0;
    },
  });
  layer.broken = true;
  background.add(layer);
  await sleep(20);
  await background.close();
  assert.deepEqual([layer.filled, looks], [0, 0]);
});
