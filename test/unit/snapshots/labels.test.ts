import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { codeOf } from '../../../src/errors.ts';
import { isTemporary, sameLabels, sourceOf, splitLabels, updateLabels } from '../../../src/snapshots/labels.ts';

const id = 'f5lxx1zz5pnorynqglhzmsp33';

describe('labels', () => {
  it('are temporary when BuildKit made a copy of them for one call', () => {
    for (const key of [
      `containerd.io/snapshot/remote/stargz.reference.${id}`,
      `containerd.io/snapshot/remote/stargz.session.0.${id}`,
      `containerd.io/snapshot/stargz/toc.digest.${id}`,
      `containerd.io/snapshot.ref.${id}`,
    ]) {
      assert.ok(isTemporary(key), key);
    }
    for (const key of [
      'containerd.io/snapshot/remote/stargz.reference',
      'containerd.io/snapshot.ref',
      `containerd.io/snapshot/remote/stargz.reference.${id}x`,
      `buildkit.${id}`,
    ]) {
      assert.ok(!isTemporary(key), key);
    }
  });

  it('are split without the empty ones', () => {
    const temporary = { [`containerd.io/snapshot/a.${id}`]: 't' };
    assert.deepEqual(splitLabels({ a: '1', b: '', ...temporary }), { durable: { a: '1' }, temporary });
  });

  it('are replaced without a mask and with the mask "labels"', () => {
    assert.deepEqual(updateLabels({ a: '1', b: '2' }, { b: '3', c: '' }, []), { b: '3' });
    assert.deepEqual(updateLabels({ a: '1', b: '2' }, { b: '3' }, ['labels']), { b: '3' });
  });

  it('are changed one by one with a mask, whatever the key holds', () => {
    const current = { 'a.b/c': '1', keep: '2', gone: '3', empty: '4', __proto__: '5' };
    const given = { 'a.b/c': 'new', 'labels.x': 'y', empty: '', ignored: 'z' };
    assert.deepEqual(
      updateLabels(current, given, [
        'labels.a.b/c',
        'labels.labels.x',
        'labels.gone',
        'labels.empty',
        'labels.toString',
      ]),
      { 'a.b/c': 'new', keep: '2', 'labels.x': 'y' },
    );
  });

  it('are all that can be updated', () => {
    for (const path of ['name', 'parent', 'kind', 'created_at', 'label', 'Labels.x', '']) {
      assert.throws(
        () => updateLabels({}, {}, ['labels.ok', path]),
        (error) => codeOf(error) === 'InvalidArgument',
      );
    }
  });

  it('are the same only when keys and values are', () => {
    assert.ok(sameLabels({ a: '1', b: '2' }, { b: '2', a: '1' }));
    assert.ok(!sameLabels({ a: '1' }, { b: '1' }));
    assert.ok(!sameLabels({ a: '1' }, { a: '1', b: '2' }));
  });

  it('name the source of a layer in either family', () => {
    assert.deepEqual(
      sourceOf({
        'containerd.io/snapshot/cri.image-ref': 'docker.io/library/a:1',
        'containerd.io/snapshot/cri.layer-digest': 'sha256:1',
      }),
      { reference: 'docker.io/library/a:1', digest: 'sha256:1' },
    );
    assert.deepEqual(sourceOf({}), { reference: undefined, digest: undefined });
  });
});

it('updateLabels takes labels once that an update names a hundred thousand times', { timeout: 20_000 }, () => {
  const given = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`key${i}`, 'x']));
  assert.deepEqual(updateLabels({}, given, Array<string>(100_000).fill('labels')), given);
});
