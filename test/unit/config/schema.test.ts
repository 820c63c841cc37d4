import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dotted, fileSchema, problemsIn, quoted, unknownKeysIn } from '../../../src/config/schema.ts';

test('fileSchema fills in every default', () => {
  const file = fileSchema.parse({});
  assert.equal(file.resolver.request_timeout_sec, 30);
  assert.deepEqual([file.client, file.mirror, file.cache], [[], { address: '', allow_remote: false }, {}]);
});

test('problemsIn is empty for a file that is right, and names the place of what is wrong', () => {
  assert.deepEqual(problemsIn({ noprefetch: true, cache: { max_size: '40%', low_water: 0.5 } }), []);
  const places = (value: unknown) => problemsIn(value).map(({ path }) => dotted(path));
  assert.deepEqual(places({ noprefetch: 'yes' }), ['noprefetch']);
  assert.deepEqual(places({ cache: { max_size: '40 apples' } }), ['cache.max_size']);
  assert.deepEqual(places({ client: [{ name: 'a', address: '/x' }, { name: 'b' }] }), ['client.1.address']);
  const mirrors = [{ host: 'a' }, { host: 1 }];
  assert.deepEqual(places({ resolver: { host: { 'docker.io': { mirrors } } } }), [
    'resolver.host."docker.io".mirrors.1.host',
  ]);
  assert.equal(places({ noprefetch: 1, prefetch_size: -1, ipfs: 'x' }).length, 3);
});

test('problemsIn says what a number must be between, and compares the two waters', () => {
  const [problem] = problemsIn({ resolver: { request_timeout_sec: 100_000 } });
  assert.match(problem!.text, /86400/);
  const [waters] = problemsIn({ cache: { high_water: 0.5, low_water: 0.9 } });
  assert.match(waters!.text, /low_water must not be above high_water/);
  assert.equal(problemsIn({ cache: { high_water: 0.5 } }).length, 1, 'the default of the other one counts');
});

test('unknownKeysIn suggests a key of the same table, else the place of that key, else nothing', () => {
  const texts = (value: unknown) => unknownKeysIn(value).map(({ path, text }) => [dotted(path), text]);
  assert.deepEqual(texts({ noprefetch: true, cache: { max_size: 1 } }), []);
  assert.deepEqual(texts({ noprefetchh: true }), [['noprefetchh', 'did you mean "noprefetch"?']]);
  assert.deepEqual(texts({ max_bytes_per_second: 1 }), [
    ['max_bytes_per_second', 'did you mean "background_fetch.max_bytes_per_second"?'],
  ]);
  assert.deepEqual(texts({ quite_another: 1 }), [['quite_another', '']]);
  assert.deepEqual(texts({ client: [{ name: 'a', addres: '/x' }] }), [
    ['client.0.addres', 'did you mean "client.0.address"?'],
  ]);
});

test('unknownKeysIn takes names that objects have by nature for what they are: unknown', () => {
  const value = JSON.parse('{"constructor": 1, "toString": {"a": 1}, "cache": {"__proto__": 1}}') as object;
  assert.deepEqual(
    unknownKeysIn(value).map(({ path }) => dotted(path)),
    ['constructor', 'toString', 'cache.__proto__'],
  );
});

test('dotted and quoted write paths as TOML has them', () => {
  assert.equal(dotted(['resolver', 'host', 'docker.io', 'mirrors', 0]), 'resolver.host."docker.io".mirrors.0');
  assert.equal(quoted('cache.max_size'), '"cache.max_size"');
  assert.equal(quoted('host."docker.io"'), 'host."docker.io"');
});
