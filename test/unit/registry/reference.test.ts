import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LazypullError } from '../../../src/errors.ts';
import { formatReference, isDigest, parseReference } from '../../../src/registry/reference.ts';
import fc from '../../support/properties.ts';

const hex = 'a'.repeat(64);

test('parseReference() reads references as Docker does', () => {
  const table: [string, string][] = [
    ['alpine', 'docker.io/library/alpine'],
    ['alpine:3.20', 'docker.io/library/alpine:3.20'],
    ['user/x:tag', 'docker.io/user/x:tag'],
    ['docker.io/alpine', 'docker.io/library/alpine'],
    ['index.docker.io/alpine', 'docker.io/library/alpine'],
    ['docker.io/a/b', 'docker.io/a/b'],
    ['localhost/x', 'localhost/x'],
    ['localhost:5000/x', 'localhost:5000/x'],
    [`localhost:5000/a/b:tag@sha256:${hex}`, `localhost:5000/a/b:tag@sha256:${hex}`],
    [`alpine@sha256:${hex}`, `docker.io/library/alpine@sha256:${hex}`],
    ['[::1]:5000/x', '[::1]:5000/x'],
    ['[2001:db8::1]/x/y:1', '[2001:db8::1]/x/y:1'],
    ['127.0.0.1:80/x', '127.0.0.1:80/x'],
    ['ghcr.io/o/r:v1.2.3', 'ghcr.io/o/r:v1.2.3'],
    ['MyHost/x', 'MyHost/x'],
    ['reg.local:5000/a__b/c---d/e.f_g', 'reg.local:5000/a__b/c---d/e.f_g'],
    ['a/b:A_-.9', 'docker.io/a/b:A_-.9'],
    ['xn--n3h.com/myimage:xn--n3h.com', 'xn--n3h.com/myimage:xn--n3h.com'],
    [`x:t@sha512:${'b'.repeat(128)}`, `docker.io/library/x:t@sha512:${'b'.repeat(128)}`],
    [`localhost:5000/${hex}x`, `localhost:5000/${hex}x`],
  ];
  for (const [text, full] of table) assert.equal(formatReference(parseReference(text)), full, text);
  assert.deepEqual(parseReference('alpine'), { host: 'docker.io', repository: 'library/alpine' });
  assert.deepEqual(parseReference('h:1/x:t'), { host: 'h:1', repository: 'x', tag: 't' });
});

test('parseReference() refuses what Docker refuses', () => {
  const wrong = [
    '',
    ':',
    '@',
    '/x',
    'x/',
    'a//b',
    'Alpine',
    'user/Alpine',
    'a..b',
    'a___b',
    '-a/b',
    'a-/b',
    'x:',
    'x:-tag',
    `x:${'t'.repeat(129)}`,
    'x@sha256:abc',
    `x@sha256:${'A'.repeat(64)}`,
    `x@md5:${'a'.repeat(32)}`,
    `x@sha256:${hex}@sha256:${hex}`,
    hex,
    `localhost:99999/x`,
    'local0.5/x',
    '1.2.3.400/x',
    'localhost:/x',
    '-host.com/x',
    'host-.com/x',
    '[fe80::1%eth0]/x',
    '[::1/x',
    '[not]/x',
    'https://host/x',
    'a b',
    'x\n',
    `${'a'.repeat(256)}`,
    `h.com/${'a/'.repeat(200)}a`,
    'a'.repeat(1_000_000),
  ];
  for (const text of wrong) {
    assert.throws(
      () => parseReference(text),
      (error) => error instanceof LazypullError && error.code === 'InvalidArgument',
      text.slice(0, 80),
    );
  }
});

test('formatReference() and parseReference() are inverse', () => {
  const component = fc.stringMatching(/^[a-z0-9]{1,8}([._]|__|-{1,3})[a-z0-9]{1,8}$/);
  const host = fc.oneof(
    fc.constantFrom('docker.io', 'localhost', 'localhost:5000', '[::1]:80', '127.0.0.1'),
    fc.stringMatching(/^[a-z]{1,5}\.[a-z]{2,3}(:[1-9][0-9]{0,3})?$/),
  );
  const reference = fc.record(
    {
      host,
      repository: fc.array(component, { minLength: 2, maxLength: 4 }).map((parts) => parts.join('/')),
      tag: fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/),
      digest: fc.stringMatching(/^[0-9a-f]{64}$/).map((digits) => `sha256:${digits}`),
    },
    { requiredKeys: ['host', 'repository'] },
  );
  fc.assert(fc.property(reference, (value) => assert.deepEqual(parseReference(formatReference(value)), { ...value })));
});

test('parseReference() on any text gives a reference that parses again, or InvalidArgument', () => {
  const nearly = fc.string({
    unit: fc.constantFrom(...'aA0.:/@-_[] \u00e9'.split(''), 'sha256:', 'localhost'),
    maxLength: 60,
  });
  fc.assert(
    fc.property(fc.oneof(fc.string(), nearly), (text) => {
      try {
        const reference = parseReference(text);
        assert.deepEqual(parseReference(formatReference(reference)), reference);
      } catch (error) {
        assert.ok(error instanceof LazypullError && error.code === 'InvalidArgument');
      }
    }),
    { numRuns: 2_000 },
  );
});

test('isDigest() takes the algorithms that can be verified', () => {
  assert.ok(isDigest(`sha256:${hex}`));
  assert.ok(isDigest(`sha384:${'0'.repeat(96)}`));
  assert.ok(!isDigest(`sha256:${hex}0`));
  assert.ok(!isDigest(`sha1:${'0'.repeat(40)}`));
  assert.ok(!isDigest('sha256'));
  assert.ok(!isDigest(''));
  assert.ok(!isDigest(`sha256:${'g'.repeat(64)}`));
});
