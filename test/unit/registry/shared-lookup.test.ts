import assert from 'node:assert/strict';
import type { LookupAddress } from 'node:dns';
import { test } from 'node:test';
import { type LookupAll, shared } from '../../../src/registry/shared-lookup.ts';

test('shared looks a name up once for all that ask meanwhile, so that a slow resolver keeps no other name waiting', () => {
  const asked: string[] = [];
  const answers: Parameters<LookupAll>[2][] = [];
  const lookup = shared((hostname, { family }, callback) => {
    asked.push(`${hostname} ${String(family)}`);
    answers.push(callback);
  });
  const got: (string | undefined)[] = [];
  const ask = (hostname: string, family = 0): void =>
    lookup(hostname, { all: true, family }, (error, addresses: LookupAddress[]) => {
      got.push(error?.code ?? addresses[0]?.address);
    });
  for (let i = 0; i < 3; i++) ask('slow.example');
  ask('slow.example', 6);
  ask('other.example');
  assert.deepEqual(asked, ['slow.example 0', 'slow.example 6', 'other.example 0']);
  answers[2]?.(null, [{ address: '192.0.2.1', family: 4 }]);
  assert.deepEqual(got, ['192.0.2.1']);
  answers[0]?.(Object.assign(new Error('x'), { code: 'EAI_AGAIN' }), []);
  assert.deepEqual(got.slice(1), ['EAI_AGAIN', 'EAI_AGAIN', 'EAI_AGAIN']);
  ask('slow.example');
  assert.equal(asked.length, 4);
});
