import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { Connections, maxConnections } from '../../../src/rpc/client-connections.ts';

class FakeSocket extends EventEmitter {
  bytesRead = 0;
  destroyed = false;

  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

function fill(spoken: (index: number) => boolean) {
  const connections = new Connections();
  const sockets = Array.from({ length: maxConnections }, (_, i) =>
    Object.assign(new FakeSocket(), { bytesRead: spoken(i) ? 24 : 0 }),
  );
  const add = (socket: FakeSocket) => connections.add(socket as unknown as Socket);
  sockets.forEach(add);
  return { connections, sockets, add };
}

const gone = (sockets: readonly FakeSocket[]) => sockets.flatMap(({ destroyed }, i) => (destroyed ? [i] : []));

test('Connections replaces the oldest silent connection by one too many', () => {
  const { sockets, add } = fill((i) => i < 5 || i > 7);
  for (let i = 0; i < 3; i++) add(Object.assign(new FakeSocket(), { bytesRead: 24 }));
  assert.deepEqual(gone(sockets), [5, 6, 7]);
});

test('Connections replaces the one that was silent for longest if all have spoken', () => {
  const { connections, sockets, add } = fill(() => true);
  const more = Array.from({ length: 2 }, () => Object.assign(new FakeSocket(), { bytesRead: 24 }));
  add(more[0]!);
  assert.deepEqual(gone(sockets), [0]);
  sockets[1]!.bytesRead = 100;
  add(more[1]!);
  assert.deepEqual(gone(sockets), [0, 2]);
  connections.close();
  assert.equal(gone(sockets).length, maxConnections);
});
