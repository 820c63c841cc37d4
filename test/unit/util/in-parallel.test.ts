import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { inParallel } from '../../../src/util/in-parallel.ts';

describe('inParallel', () => {
  it('works on so many at a time, and gives the results in order', async () => {
    let running = 0;
    let most = 0;
    const results = await inParallel([3, 1, 2, 0, 5], 2, async (turns, i) => {
      most = Math.max(most, ++running);
      for (let left = turns; left > 0; left--) await turn();
      running--;
      return `${i}:${turns}`;
    });
    assert.deepEqual(results, ['0:3', '1:1', '2:2', '3:0', '4:5']);
    assert.equal(most, 2);
    assert.deepEqual(await inParallel([], 2, () => Promise.reject(new Error('nothing is there'))), []);
  });

  it('begins nothing after a failure, stops what is under way and waits for it', async () => {
    const begun: number[] = [];
    let isStopped = false;
    const done = inParallel([0, 1, 2, 3], 2, async (item, _, signal) => {
      begun.push(item);
      if (item === 1) throw new Error('it fails');
      while (!signal.aborted) await turn();
      isStopped = true;
      throw new Error('it was stopped');
    });
    await assert.rejects(done, /it fails/);
    assert.deepEqual(begun, [0, 1]);
    assert.ok(isStopped);
  });

  it('ends with the reason of its own signal', async () => {
    const stop = new AbortController();
    const done = inParallel([0, 1, 2], 1, async () => stop.abort(new Error('it is over')), stop.signal);
    await assert.rejects(done, /it is over/);
  });
});
