import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OpenConnections } from '../../../src/indexes/open-connections.ts';
import { until } from '../../support/until.ts';

test('OpenConnections.expect uses the connections again and again, and no more once the time is over', async () => {
  let times = 0;
  const open = (): Promise<void> => {
    times++;
    return Promise.resolve();
  };
  await using connections = new OpenConnections(open, { refreshMs: 1, expectedMs: 50 });
  connections.expect();
  assert.equal(times, 0);
  await until(() => times >= 3);
  for (let before = -1; before !== times; ) {
    before = times;
    await sleep(100);
  }
  connections.expect();
  const before = times;
  await until(() => times >= before + 3);
});

test('OpenConnections[Symbol.asyncDispose] ends it', async () => {
  let times = 0;
  const connections = new OpenConnections(async () => void times++, { refreshMs: 1, expectedMs: 60_000 });
  connections.expect();
  await until(() => times > 0);
  await connections[Symbol.asyncDispose]();
  const before = times;
  connections.expect();
  await sleep(20);
  assert.equal(times, before);
});
