import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentMap } from '../../../src/util/recent-map.ts';

test('RecentMap forgets what was set the longest ago, and what has had its time', () => {
  const map = new RecentMap<number>(2);
  map.set('a', 1);
  map.set('b', 2);
  map.set('a', 3);
  map.set('c', 4);
  assert.deepEqual(
    ['a', 'b', 'c'].map((key) => map.get(key)),
    [3, undefined, 4],
  );
  map.set('d', 5, 0);
  assert.equal(map.get('d'), undefined);
  assert.equal(map.has('c'), true);
  map.delete('c');
  assert.equal(map.has('c'), false);
});
