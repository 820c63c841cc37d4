import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askedRange } from '../../../src/mirror/byte-range.ts';
import { parseMirrorRequest } from '../../../src/mirror/request.ts';

const digest = `sha256:${'a'.repeat(64)}`;

test('parseMirrorRequest reads a registry, a repository and what is wanted of it from a URL', () => {
  assert.deepEqual(parseMirrorRequest('/v2/'), { kind: 'version' });
  assert.deepEqual(parseMirrorRequest('/v2?ns=docker.io'), { kind: 'version' });
  const alpine = { host: 'docker.io', repository: 'library/alpine' };
  assert.deepEqual(parseMirrorRequest('/v2/library/alpine/manifests/3.20?ns=docker.io'), {
    kind: 'manifest',
    reference: { ...alpine, tag: '3.20' },
  });
  assert.deepEqual(parseMirrorRequest(`/v2/alpine/manifests/${digest}?ns=docker.io`), {
    kind: 'manifest',
    reference: { ...alpine, digest },
  });
  const reference = { host: 'localhost:5000', repository: 'a/b-c/d__e' };
  for (const written of [digest, digest.replace(':', '%3A')]) {
    assert.deepEqual(parseMirrorRequest(`/v2/a/b-c/d__e/blobs/${written}?ns=localhost%3A5000`), {
      kind: 'blob',
      reference,
      digest,
    });
  }
});

test('parseMirrorRequest refuses everything else', () => {
  const blob = `/v2/a/blobs/${digest}`;
  const refused: [string, string][] = [
    ['/', 'NotFound'],
    ['/v2/_catalog?ns=docker.io', 'NotFound'],
    ['/v2/a/tags/list?ns=docker.io', 'NotFound'],
    ['/v2/a/blobs/uploads/?ns=docker.io', 'NotFound'],
    ['/v3/a/manifests/x?ns=docker.io', 'NotFound'],
    [`/v2/a%2fb/blobs/${digest}?ns=docker.io`, 'NotFound'],
    [blob, 'InvalidArgument'],
    [`${blob}?ns=`, 'InvalidArgument'],
    [`${blob}?ns=docker.io&ns=ghcr.io`, 'InvalidArgument'],
    [`${blob}?ns=docker`, 'InvalidArgument'],
    [`${blob}?ns=docker.io%2Fx`, 'InvalidArgument'],
    [`${blob}?ns=user%40docker.io`, 'InvalidArgument'],
    [`${blob}?ns=docker.io%3F`, 'InvalidArgument'],
    [`${blob}?ns=docker.io:99999`, 'InvalidArgument'],
    [`/v2/A/blobs/${digest}?ns=docker.io`, 'InvalidArgument'],
    [`/v2/a//b/blobs/${digest}?ns=docker.io`, 'InvalidArgument'],
    ['/v2/a/blobs/sha256:abc?ns=docker.io', 'InvalidArgument'],
    ['/v2/a/blobs/latest?ns=docker.io', 'InvalidArgument'],
    ['/v2/a/manifests/.x?ns=docker.io', 'InvalidArgument'],
    [`/v2/a/manifests/sha256:abc?ns=docker.io`, 'InvalidArgument'],
    [`/v2/${'a/'.repeat(1100)}b/manifests/x?ns=docker.io`, 'InvalidArgument'],
    ['//x y/v2/', 'InvalidArgument'],
  ];
  for (const [url, code] of refused) assert.throws(() => parseMirrorRequest(url), { code }, url);
});

test('parseMirrorRequest resolves dots in a path first, and they never lead to another registry', () => {
  const asked = parseMirrorRequest(`/v2/a/../b/blobs/${digest}?ns=docker.io`);
  assert.ok(asked.kind === 'blob' && asked.reference.repository === 'library/b');
});

test('askedRange reads one range, nothing, or a header to ignore', () => {
  const all = { start: 0, end: 100, isPart: false };
  for (const header of [undefined, '', 'bytes=', 'bytes=-', 'bytes=5-4', 'bytes=0-1,4-5', 'items=0-1', 'bytes=a-b']) {
    assert.deepEqual(askedRange(header, 100), all, header);
  }
  assert.deepEqual(askedRange('bytes=0-9', 100), { start: 0, end: 10, isPart: true });
  assert.deepEqual(askedRange('bytes=10-', 100), { start: 10, end: 100, isPart: true });
  assert.deepEqual(askedRange('bytes=90-200', 100), { start: 90, end: 100, isPart: true });
  assert.deepEqual(askedRange('bytes=-10', 100), { start: 90, end: 100, isPart: true });
  assert.deepEqual(askedRange('bytes=-200', 100), { start: 0, end: 100, isPart: true });
  for (const header of ['bytes=100-', 'bytes=100-200', 'bytes=-0']) assert.equal(askedRange(header, 100), undefined);
  assert.deepEqual(askedRange(undefined, 0), { start: 0, end: 0, isPart: false });
  assert.equal(askedRange('bytes=0-', 0), undefined);
});
