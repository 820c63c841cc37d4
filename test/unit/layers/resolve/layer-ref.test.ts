import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isUnindexed } from '../../../../src/chunks/layer-id.ts';
import { explain } from '../../../../src/errors.ts';
import { Formats } from '../../../../src/formats/index.ts';
import { type NamedLayer, resolve as resolveLabels } from '../../../../src/layers/resolve/layer-ref.ts';
import { Refusal } from '../../../../src/layers/resolve/refusal.ts';

const formats = new Formats();
/** Without the functions of the format, which is the right one. */
const resolve = (labels: Record<string, string>): Omit<NamedLayer, 'format'> => {
  const named = resolveLabels(labels, formats);
  assert.ok(!(named instanceof Refusal));
  const { format, ...ref } = named;
  assert.equal(format.name, isUnindexed(ref.id) ? 'layer-index' : 'estargz');
  return ref;
};

const digest = `sha256:${'a'.repeat(64)}`;
const other = `sha256:${'b'.repeat(64)}`;
const tocDigest = `sha256:${'c'.repeat(64)}`;
const stargz = {
  'containerd.io/snapshot/remote/stargz.reference': 'localhost:5000/base:esgz',
  'containerd.io/snapshot/remote/stargz.digest': digest,
  'containerd.io/snapshot/remote/stargz.layers': `${digest},${other}`,
  'containerd.io/snapshot/stargz/toc.digest': tocDigest,
};

test('resolve() reads the labels that BuildKit sends', () => {
  assert.deepEqual(resolve(stargz), {
    reference: 'localhost:5000/base:esgz',
    id: { digest, index: tocDigest },
    siblings: [other],
    prefetchBytes: undefined,
  });
});

test('resolve() prefers the labels that the CRI sends', () => {
  const labels = {
    ...stargz,
    'containerd.io/snapshot/cri.image-ref': 'docker.io/library/x:1',
    'containerd.io/snapshot/cri.layer-digest': other,
    'containerd.io/snapshot/cri.image-layers': `${digest},${other}`,
  };
  assert.deepEqual(resolve(labels), {
    reference: 'docker.io/library/x:1',
    id: { digest: other, index: tocDigest },
    siblings: [digest],
    prefetchBytes: undefined,
  });
});

test('resolve() falls back to the other family when one is incomplete, as BuildKit sends only the reference of the CRI family', () => {
  assert.equal(resolve({ ...stargz, 'containerd.io/snapshot/cri.image-ref': 'x:1' }).id.digest, digest);
});

test('resolve() reads how much the client wants at once, and ignores what is no number', () => {
  const label = 'containerd.io/snapshot/remote/stargz.prefetch';
  assert.equal(resolve({ ...stargz, [label]: '10485760' }).prefetchBytes, 10485760);
  assert.equal(resolve({ ...stargz, [label]: '-1' }).prefetchBytes, undefined);
});

test('resolve() knows an unindexed layer by its own digest, as BuildKit and containerd name it', () => {
  const { id } = resolve({ ...stargz, 'containerd.io/snapshot/stargz/toc.digest': '' });
  assert.deepEqual(id, { digest, index: digest });
  const { 'containerd.io/snapshot/stargz/toc.digest': _, ...none } = stargz;
  assert.ok(isUnindexed(resolve(none).id));
});

test('resolve() says what is missing', () => {
  const digestLabel = 'containerd.io/snapshot/remote/stargz.digest';
  for (const [labels, reason, message] of [
    [{}, 'annotations', /enable snapshot annotations/],
    [{ ...stargz, [digestLabel]: '../../etc/passwd' }, 'content', /not a sha256 digest/],
    [{ ...stargz, 'containerd.io/snapshot/stargz/toc.digest': 'sha256:1' }, 'content', /not a sha256/],
  ] as const) {
    const refusal = resolveLabels(labels, formats);
    assert.ok(refusal instanceof Refusal);
    assert.equal(refusal.reason, reason);
    assert.equal(refusal.code, 'InvalidArgument');
    assert.match(explain(refusal), message);
  }
});
