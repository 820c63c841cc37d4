import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PrepareHistory } from '../../../src/snapshots/prepare-history.ts';

const labels = (reference: string, digest: string) => ({
  'containerd.io/snapshot/cri.image-ref': reference,
  'containerd.io/snapshot/cri.layer-digest': digest,
});

test('PrepareHistory keeps the last of each layer of each image', () => {
  const outcomes = new PrepareHistory();
  outcomes.note(labels('r/a', 'sha256:1'), { reason: 'registry', message: 'away' });
  outcomes.note(labels('r/a', 'sha256:2'));
  outcomes.note(labels('r/b', 'sha256:1'), { reason: 'no_toc', message: 'plain' });
  outcomes.note(labels('r/a', 'sha256:1'));
  assert.deepEqual(
    outcomes.list().map(({ reference, digest, reason }) => [reference, digest, reason]),
    [
      ['r/a', 'sha256:2', undefined],
      ['r/b', 'sha256:1', 'no_toc'],
      ['r/a', 'sha256:1', undefined],
    ],
  );
  assert.equal(outcomes.list(['sha256:2']).length, 1);
});

test('PrepareHistory is bounded, whatever a client sends', () => {
  const outcomes = new PrepareHistory();
  const long = 'x'.repeat(100_000);
  for (let i = 0; i < 3000; i++) outcomes.note(labels(long, `sha256:${i}`), { reason: 'other', message: long });
  const kept = outcomes.list();
  assert.equal(kept.length, 1024);
  assert.equal(kept.at(-1)?.digest, 'sha256:2999');
  assert.ok(kept.every(({ reference, message }) => reference.length + message.length < 3000));
  outcomes.note({});
  assert.equal(outcomes.list().at(-1)?.reference, '');
});
