import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LayerReport } from '../../../src/image-reader/inspect.ts';
import { parseReference } from '../../../src/registry/reference.ts';
import type { PrepareOutcome } from '../../../src/snapshots/prepare-history.ts';
import { explainLayers, explainOutcomes } from '../../../src/status/why.ts';

const image = parseReference('registry.example/app:1');
const layer = (digest: string, problem?: LayerReport['problem']): LayerReport => ({
  digest,
  mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
  bytes: 100,
  format: 'gzip',
  problem,
  content: undefined,
});
const outcome = (
  digest: string,
  reason?: PrepareOutcome['reason'],
  reference = 'registry.example/app:1',
): PrepareOutcome => ({
  reference,
  digest,
  atMs: 7,
  reason,
  message: reason === undefined ? '' : `because of ${reason}`,
});
const plain = { reason: 'no_toc', message: 'The layer is plain' } as const;
const memory = (outcomes: PrepareOutcome[], ...mounted: string[]) => ({ outcomes, mounted: new Set(mounted) });

test('explainLayers takes what the daemon did before what the registry has', () => {
  const outcomes = [outcome('a'), outcome('b', 'no_toc'), outcome('c', 'stacking')];
  const verdicts = explainLayers(image, [layer('a'), layer('b', plain), layer('c'), layer('d')], memory(outcomes, 'd'));
  assert.deepEqual(
    verdicts.map(({ verdict, reason, askedMs }) => [verdict, reason, askedMs]),
    [
      ['lazy', undefined, 7],
      ['refused', 'no_toc', 7],
      ['refused', 'stacking', 7],
      ['lazy', undefined, undefined],
    ],
  );
  assert.match(verdicts[1]!.advice, /lazypull convert/);
});

test('explainLayers distinguishes a lost TOC digest from no TOC, whatever the daemon could see', () => {
  const lost = { reason: 'no_toc_digest', message: 'The annotation is missing' } as const;
  const reports = [layer('a', lost), layer('b', plain), layer('c'), layer('d', { reason: 'registry', message: '503' })];
  const asked = explainLayers(image, reports, memory(['a', 'b', 'c', 'd'].map((digest) => outcome(digest, 'no_toc'))));
  assert.deepEqual(
    asked.map(({ verdict, reason, message }) => [verdict, reason, message]),
    [
      ['refused', 'no_toc_digest', 'The annotation is missing'],
      ['refused', 'no_toc', 'The layer is plain'],
      ['refused', 'no_toc', 'because of no_toc'],
      ['refused', 'no_toc', 'because of no_toc'],
    ],
  );
  assert.match(asked[0]!.advice, /push the image again/);
  assert.match(asked[1]!.advice, /^convert the image/);
  assert.match(asked[2]!.advice, /has its TOC digest now/);
  const [never] = explainLayers(image, [layer('a', lost)], undefined);
  assert.deepEqual([never?.verdict, never?.reason], ['impossible', 'no_toc_digest']);
  assert.match(never!.advice, /oci-mediatypes=true/);
});

test("explainLayers takes the registry's word for what can be lazy without a daemon", () => {
  const [first, second] = explainLayers(image, [layer('a'), layer('b', plain)], undefined);
  assert.deepEqual([first?.verdict, first?.advice], ['possible', '']);
  assert.equal(second?.verdict, 'possible');
  assert.match(second!.message, /pulls it/);
  for (const format of ['gzip', 'tar', 'zstd', 'zstd:chunked']) {
    const [verdict] = explainLayers(image, [{ ...layer('c', plain), format }], undefined);
    assert.equal(verdict?.verdict, 'possible', format);
  }
  const [odd] = explainLayers(image, [{ ...layer('c', plain), format: 'unknown' }], undefined);
  assert.deepEqual([odd?.verdict, odd?.message], ['impossible', 'The layer is plain']);
});

test('explainLayers points to the client for a layer that a running daemon was never asked for', () => {
  const [verdict] = explainLayers(image, [layer('a')], memory([]));
  assert.match(verdict!.advice, /must be called "stargz"/);
});

test('explainLayers describes a trouble that has passed as such', () => {
  const [away, still] = explainLayers(
    image,
    [layer('a'), layer('b', { reason: 'credentials', message: '401' })],
    memory([outcome('a', 'registry'), outcome('b', 'credentials')]),
  );
  assert.match(away!.advice, /gives it now/);
  assert.match(still!.advice, /docker login/);
});

test('explainLayers takes the outcome in this image before that in another', () => {
  const outcomes = [outcome('a'), outcome('a', 'credentials', 'other.example/app:1')];
  assert.equal(explainLayers(image, [layer('a')], memory(outcomes))[0]?.verdict, 'lazy');
  assert.equal(explainLayers(image, [layer('a')], memory(outcomes.slice(1)))[0]?.verdict, 'refused');
});

test('explainOutcomes knows the image by its name if the registry is away', () => {
  const outcomes = [
    outcome('a', 'registry'),
    outcome('b', undefined, 'registry.example/app:1@sha256:' + '0'.repeat(64)),
    outcome('c', undefined, 'registry.example/app:2'),
    outcome('d', undefined, 'NONSENSE'),
  ];
  assert.deepEqual(
    explainOutcomes(image, outcomes).map(({ digest, bytes }) => [digest, bytes]),
    [
      ['a', undefined],
      ['b', undefined],
    ],
  );
});
