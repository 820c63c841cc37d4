import assert from 'node:assert/strict';
import fc from 'fast-check';
import { askedRange } from '../../../src/mirror/byte-range.ts';
import { parseMirrorRequest } from '../../../src/mirror/request.ts';
import { isDigest } from '../../../src/registry/reference.ts';
import type { Subject } from '../subject.ts';

const digest = `sha256:${'ab'.repeat(32)}`;
const urlParts = [
  '/v2/',
  'a',
  '/',
  '..',
  'library/b-c',
  '/manifests/',
  '/blobs/',
  digest,
  'latest',
  '?ns=',
  'docker.io',
];

/** What clients of the mirror send. */
export const mirror: Subject[] = [
  {
    name: 'mirror request',
    weight: 150,
    inputs: fc
      .oneof(
        fc.array(fc.constantFrom(...urlParts), { maxLength: 8 }).map((parts) => parts.join('')),
        fc.constantFrom(`/v2/a/b/blobs/${digest}?ns=localhost:5000`, '/v2/a/manifests/x?ns=[::1]:5000'),
      )
      .map((text) => Buffer.from(text, 'latin1')),
    tokens: [...urlParts, '%2f', '%3A', '&ns=', '@', '#', '\\', '//', ':99', '%00', '%'],
    run(input) {
      const asked = parseMirrorRequest(input.toString('latin1'));
      if (asked.kind === 'version') return;
      const { host, repository } = asked.reference;
      assert.doesNotMatch(host, /[/@?#%\s\\]/);
      assert.equal(new URL(`https://${host}/v2/`).pathname, '/v2/');
      assert.doesNotMatch(repository, /[^a-z0-9._/-]|\.\.|\/\/|^\/|\/$/);
      if (asked.kind === 'blob') assert.ok(isDigest(asked.digest));
    },
  },
  {
    name: 'Range',
    weight: 60,
    inputs: fc
      .tuple(fc.oneof(fc.nat(2000).map(String), fc.constant('')), fc.oneof(fc.nat(2000).map(String), fc.constant('')))
      .map(([first, last]) => Buffer.from(`bytes=${first}-${last}`)),
    tokens: ['bytes=', '-', ',', '0', '999999999999999', '1e9'],
    run(input, random) {
      const size = random.below(2000);
      const range = askedRange(input.toString('latin1'), size);
      if (range === undefined) return;
      assert.ok(range.start >= 0 && range.start <= range.end && range.end <= size);
      assert.ok(!range.isPart || range.start < range.end);
    },
  },
];
