import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from '../../../src/rpc/turns.ts';

const quick = { lookMs: 5, silentLooks: 6, deadLooks: 60, slowLooks: 30 };
const never = new Promise<void>(() => undefined);
const nothing = () => 0;
const { signal } = new AbortController();

test('Turns gives the turn of the client that has read nothing for longest to a waiting call', async () => {
  const turns = new Turns(quick);
  const held = await Promise.all(Array.from({ length: 4 }, () => turns.take(signal)));
  const first = held[0]!.taken(never, nothing);
  const second = held[1]!.taken(never, nothing);
  second.catch(() => undefined);
  const fifth = turns.take(signal);
  await assert.rejects(first, { code: 'ResourceExhausted' });
  assert.deepEqual(
    held.map(({ isLost }) => isLost),
    [true, false, false, false],
  );
  const more = await fifth;
  for (const turn of [...held, more]) turn[Symbol.dispose]();
});

test('Turns leaves a client that reads its turn, and then gives it to a waiting call', async () => {
  const turns = new Turns(quick);
  const held = await Promise.all(Array.from({ length: 4 }, () => turns.take(signal)));
  let got = false;
  const fifth = turns.take(signal).then((turn) => {
    got = true;
    return turn;
  });
  for (let i = 0; i < 20; i++) {
    await Promise.all(held.map((turn) => turn.taken(new Promise((resolve) => setTimeout(resolve, 5)), nothing)));
  }
  assert.equal(got, false);
  held[2]![Symbol.dispose]();
  (await fifth)[Symbol.dispose]();
});

test('Turns gives a client up that reads nothing even if no call waits, and ends the wait of one that goes', async () => {
  const turns = new Turns(quick);
  await assert.rejects((await turns.take(signal)).taken(never, nothing), { code: 'ResourceExhausted' });
  const gone = new AbortController();
  const [turn] = await Promise.all(Array.from({ length: 4 }, () => turns.take(gone.signal)));
  const waiting = turns.take(gone.signal);
  const taking = turn!.taken(never, nothing);
  gone.abort();
  await assert.rejects(waiting);
  await assert.rejects(taking, { code: 'Canceled' });
});

test('Turns leaves a slow client its turn while it takes something, but not for ever if others wait', async () => {
  const turns = new Turns(quick);
  const held = await Promise.all(Array.from({ length: 4 }, () => turns.take(signal)));
  let bytes = 0;
  const slow = held.map((turn) => turn.taken(never, () => ++bytes));
  const isOver = Symbol();
  const early = await Promise.race([...slow, new Promise((resolve) => setTimeout(() => resolve(isOver), 60))]);
  assert.equal(early, isOver);
  const next = turns.take(signal);
  const results = Promise.allSettled(slow);
  (await next)[Symbol.dispose]();
  assert.equal(held.filter(({ isLost }) => isLost).length, 1);
  for (const turn of held) turn[Symbol.dispose]();
  void results;
});
