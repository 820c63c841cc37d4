import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOfHex, hexOf, isSha256, sha256 } from '../../../src/chunks/digest.ts';
import { layerIdOfKey, layerIdOfPath, layerKey, layerPath } from '../../../src/chunks/layer-id.ts';

const [a, b] = ['a'.repeat(64), 'b'.repeat(64)] as const;
const id = { digest: digestOfHex(a), index: digestOfHex(b) };

test('LayerId is found again by its key and by its path', () => {
  assert.deepEqual(layerIdOfKey(layerKey(id)), id);
  assert.equal(layerPath(id), `${a}/${b}`);
  assert.deepEqual(layerIdOfPath(a, b), id);
});

test('layerPath() leads to nowhere else, whatever a client names', () => {
  for (const index of ['', 'sha256:', 'sha256:../../x', `sha256:${a}\n`, `sha256:${a.toUpperCase()}`, a]) {
    assert.throws(() => layerPath({ ...id, index }), { code: 'InvalidArgument', message: /is not a sha256 digest$/ });
  }
});

test('sha256() gives what isSha256() takes', () => {
  assert.ok(isSha256(sha256('')));
  assert.equal(hexOf(sha256('')), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
});
