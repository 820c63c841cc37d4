import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { Admission, Served } from '../../../src/mirror/admission.ts';

/** Requests of addresses at a clock that a test sets. */
function requests() {
  const dropped: string[] = [];
  const clock = { ms: 0 };
  const of = (name: string, remoteAddress = '127.0.0.1') => {
    const response = { req: { socket: { remoteAddress } }, destroy: () => dropped.push(name) };
    return new Served(response as unknown as ServerResponse, () => clock.ms);
  };
  return { dropped, clock, of };
}

test('Admission lets the slowest client give way, and none that takes what it is given', () => {
  const { dropped, clock, of } = requests();
  const admission = new Admission(3);
  const [slow, dead, quick] = [of('slow'), of('dead'), of('quick')];
  for (const each of [slow, dead, quick]) assert.ok(admission.admit(each));
  for (const each of [slow, dead, quick]) each.give(1000, true);
  clock.ms = 1000;
  assert.ok(!admission.admit(of('too early')));
  slow.taken();
  slow.give(50_000, true);
  quick.taken();
  quick.give(1_000_000, true);
  clock.ms = 4000;
  assert.ok(admission.admit(of('a')));
  assert.ok(admission.admit(of('b')));
  assert.deepEqual(dropped, ['dead', 'slow']);
  assert.ok(!admission.admit(of('c')), 'quick has taken a megabyte in four seconds');
  admission.leave(quick);
  assert.ok(admission.admit(of('d')));
  assert.deepEqual(dropped, ['dead', 'slow']);
});

test('Admission lets a client give way that takes nothing more, however much its buffers took', () => {
  const { dropped, clock, of } = requests();
  const admission = new Admission(2);
  const [stopped, quick] = [of('stopped'), of('quick')];
  for (const each of [stopped, quick]) assert.ok(admission.admit(each));
  stopped.give(6_000_000, true);
  clock.ms = 4_000;
  quick.give(1_000_000, true);
  assert.ok(!admission.admit(of('too early')));
  clock.ms = 6_000;
  assert.ok(admission.admit(of('a')));
  assert.ok(!admission.admit(of('b')));
  assert.deepEqual(dropped, ['stopped']);
});

test('Admission does not count a client as slow that waits for the registry', () => {
  const { dropped, clock, of } = requests();
  const admission = new Admission(1);
  const waiting = of('waiting');
  admission.admit(waiting);
  waiting.give(10, false);
  clock.ms = 60_000;
  assert.ok(!admission.admit(of('other')));
  assert.deepEqual(dropped, []);
});

test('Admission lets an address with more requests than the new one give way to it', () => {
  const { dropped, of } = requests();
  const admission = new Admission(4);
  for (const name of ['1', '2', '3', '4']) assert.ok(admission.admit(of(name, '10.0.0.1')));
  assert.ok(!admission.admit(of('5', '10.0.0.1')));
  assert.ok(admission.admit(of('6', '10.0.0.2')));
  assert.ok(admission.admit(of('7', '10.0.0.2')));
  assert.ok(!admission.admit(of('8', '10.0.0.2')), 'both have two');
  assert.ok(admission.admit(of('9', '10.0.0.3')));
  assert.deepEqual(dropped.slice(0, 2), ['4', '3']);
  assert.equal(dropped.length, 3);
});
