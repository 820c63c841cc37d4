import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { RequestRoom } from '../../../../src/layers/fetch/request-room.ts';

/** A room whose guests are noted in the order in which they come in. */
function setUp(maxBytes: number) {
  const room = new RequestRoom(maxBytes);
  const order: string[] = [];
  const leave = new Map<string, () => void>();
  const abort = new AbortController();
  const enter = (name: string, bytes: number, isAwaited = false): void => {
    void room
      .enter(bytes, () => isAwaited, abort.signal)
      .then((release) => {
        order.push(name);
        leave.set(name, release);
      });
  };
  const goes = async (name: string): Promise<void> => {
    leave.get(name)!();
    await setImmediate();
  };
  return { order, enter, goes, abort };
}

test('RequestRoom has no more in it than there is room for, and what readers wait for goes first', async () => {
  const { order, enter, goes } = setUp(10);
  enter('a', 6);
  enter('b', 6);
  enter('c', 4);
  enter('d', 6, true);
  await setImmediate();
  assert.deepEqual(order, ['a']);
  await goes('a');
  assert.deepEqual(order, ['a', 'd']);
  await goes('d');
  assert.deepEqual(order, ['a', 'd', 'b', 'c']);
});

test('RequestRoom lets one in alone that is larger than it is', async () => {
  const { order, enter, goes } = setUp(10);
  enter('large', 25);
  enter('small', 1);
  await setImmediate();
  assert.deepEqual(order, ['large']);
  await goes('large');
  assert.deepEqual(order, ['large', 'small']);
});

test('RequestRoom keeps nobody who gives up, and has its room back afterwards', async () => {
  const { order, enter, goes, abort } = setUp(10);
  enter('a', 10);
  enter('b', 10);
  await setImmediate();
  abort.abort();
  await setImmediate();
  assert.deepEqual(order, ['a', 'b']);
  await goes('b');
  enter('c', 10);
  assert.deepEqual(order, ['a', 'b']);
  await goes('a');
  assert.deepEqual(order, ['a', 'b', 'c']);
});
