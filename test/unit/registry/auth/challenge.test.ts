import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseChallenges } from '../../../../src/registry/auth/challenge.ts';
import fc from '../../../support/properties.ts';

function read(header: string): [string, Record<string, string>][] {
  return parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
}

test('parseChallenges() reads what registries send', () => {
  assert.deepEqual(
    read(
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull,push"',
    ),
    [
      [
        'bearer',
        {
          realm: 'https://auth.docker.io/token',
          service: 'registry.docker.io',
          scope: 'repository:library/alpine:pull,push',
        },
      ],
    ],
  );
  assert.deepEqual(read('Basic realm="Registry Realm"'), [['basic', { realm: 'Registry Realm' }]]);
  assert.deepEqual(read('Basic'), [['basic', {}]]);
  assert.deepEqual(read('BEARER Realm = "a" , error=invalid_token'), [
    ['bearer', { realm: 'a', error: 'invalid_token' }],
  ]);
});

test('parseChallenges() reads several challenges, token68 and escapes', () => {
  assert.deepEqual(read('Negotiate YII=, Basic realm="a, b=\\"c\\"", Bearer realm="x"'), [
    ['negotiate', {}],
    ['basic', { realm: 'a, b="c"' }],
    ['bearer', { realm: 'x' }],
  ]);
  assert.deepEqual(read('Negotiate, Bearer realm=x'), [
    ['negotiate', {}],
    ['bearer', { realm: 'x' }],
  ]);
});

test('parseChallenges() keeps what came before nonsense', () => {
  assert.deepEqual(read('Bearer realm="x", scope="unterminated'), [['bearer', { realm: 'x' }]]);
  assert.deepEqual(read(''), []);
  assert.deepEqual(read('"'), []);
  assert.equal(read(`Bearer ${Array.from({ length: 1000 }, (_, i) => `p${i}=1`).join(',')}`).length, 1);
});

test('parseChallenges() is the inverse of writing them, and takes any text', () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9_-]{0,8}$/);
  const value = fc.string({ maxLength: 20 });
  const challenge = fc.tuple(name, fc.dictionary(name, value, { minKeys: 1, maxKeys: 4, noNullPrototype: true }));
  fc.assert(
    fc.property(fc.array(challenge, { minLength: 1, maxLength: 4 }), (challenges) => {
      const quote = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`;
      const header = challenges
        .map(
          ([scheme, parameters]) =>
            `${scheme} ${Object.entries(parameters)
              .map(([key, text]) => `${key}=${quote(text)}`)
              .join(', ')}`,
        )
        .join(', ');
      assert.deepEqual(read(header), challenges);
    }),
  );
  const nearly = fc.string({ unit: fc.constantFrom('Bearer', 'realm', '=', '"', '\\', ',', ' ', 'x') });
  fc.assert(fc.property(fc.oneof(fc.string(), nearly), (text) => void parseChallenges(text)));
});
