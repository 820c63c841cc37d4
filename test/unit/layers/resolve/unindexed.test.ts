import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { unindexed } from '../../../../src/chunks/layer-id.ts';
import { LazypullError } from '../../../../src/errors.ts';
import { layerIndexFormat } from '../../../../src/formats/layer-index-file/format.ts';
import type { ImageAccess } from '../../../../src/images/image-access.ts';
import type { Descriptor } from '../../../../src/images/manifest.ts';
import type { FoundIndex } from '../../../../src/indexes/found-index.ts';
import { tocDigestLabel } from '../../../../src/label-names.ts';
import type { LayerPulls } from '../../../../src/layers/resolve/layer-pulls.ts';
import type { LayerRef } from '../../../../src/layers/resolve/layer-ref.ts';
import { noIndexes } from '../../../../src/layers/resolve/index-source.ts';
import { RangeSupport } from '../../../../src/layers/resolve/range-support.ts';
import { pullAll, UnindexedLayers, type UnindexedPolicy } from '../../../../src/layers/resolve/unindexed.ts';
import { TraceStore } from '../../../../src/layers/prefetch/trace.ts';
import { LayerDirectory } from '../../../../src/layers/store/layer-directory.ts';
import { silentLog } from '../../../../src/log.ts';
import { fakeImage } from '../../../support/fake-image.ts';
import { FakeBlob } from '../../../support/chunked-blob.ts';

const [first, second, third, fourth] = Array.from('abcd', (letter) => `sha256:${letter.repeat(64)}`) as [
  string,
  string,
  string,
  string,
];
const reference = 'registry.example/app:1';
const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
const descriptor = (digest: string, annotations: Record<string, string> = {}): Descriptor => ({
  mediaType,
  digest,
  size: 1000,
  annotations,
  rest: {},
});
const tocDigest = `sha256:${'e'.repeat(64)}`;
const manifest = [
  descriptor(first),
  descriptor(second),
  descriptor(third, { [tocDigestLabel]: tocDigest }),
  descriptor(fourth),
];
const refOf = (image: ImageAccess, siblings: readonly string[] = []): LayerRef => ({
  id: unindexed(first),
  format: layerIndexFormat,
  image,
  siblings,
  prefetchBytes: undefined,
});

interface Parts {
  readonly policy?: UnindexedPolicy;
  readonly kept?: readonly string[];
  readonly indexed?: readonly string[];
  readonly isWithoutRanges?: boolean;
}

/** What is asked of pulls and of the registry. */
function layersWith(
  t: TestContext,
  { policy = pullAll, kept = [], indexed = [], isWithoutRanges = false }: Parts = {},
) {
  const root = mkdtempSync(join(tmpdir(), 'lazypull-unindexed-'));
  t.after(() => rmSync(root, { recursive: true }));
  const begun: string[] = [];
  const givenUp: string[] = [];
  const asked: string[] = [];
  const poisoned: string[] = [];
  const pulls = {
    isPossible: true,
    has: () => false,
    attend: () => () => undefined,
    quiet: () => Promise.resolve(),
    begin: (_: ImageAccess, digest: string) => {
      if (!begun.includes(digest)) begun.push(digest);
    },
    giveUp: (digest: string) => {
      givenUp.push(digest);
      if (begun.includes(digest)) begun.splice(begun.indexOf(digest), 1);
    },
    take: () => Promise.reject(new LazypullError('Unavailable', 'pulled')),
  } as unknown as LayerPulls;
  const found = (layer: string): FoundIndex => ({
    layer,
    digest: layer,
    size: 100,
    signedBy: undefined,
    origin: { kind: 'made', where: '' },
    path: undefined,
    range: (start, end) => Promise.resolve(Buffer.alloc(end - start)),
    whole: () => Promise.reject(new Error('not here')),
    poison: (reason) => poisoned.push(reason),
  });
  const layersOf = () => {
    asked.push(reference);
    return manifest;
  };
  const image = fakeImage(reference, () => new FakeBlob(Buffer.alloc(1000)), layersOf);
  const ref = (siblings?: readonly string[]): LayerRef => refOf(image, siblings);
  const ranges = new RangeSupport();
  if (isWithoutRanges) ranges.refuses(reference);
  const layers = new UnindexedLayers({
    ranges,
    policy,
    indexes: {
      ...noIndexes,
      find: (layer) => Promise.resolve(indexed.includes(layer) ? found(layer) : undefined),
    },
    pulls,
    plan: () => Promise.reject(new Error('no plan')),
    isKept: (digest, index = digest) => Promise.resolve(kept.includes(index)),
    traces: new TraceStore(root),
    log: silentLog,
  });
  t.after(() => layers.close());
  const make = () => layers.make(ref(), new LayerDirectory(join(root, 'layer')), new AbortController().signal);
  return { layers, ref, begun, givenUp, asked, poisoned, make };
}

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await setImmediate();
}

test('UnindexedLayers leaves everything to clients if it is told to', (t) => {
  const { layers } = layersWith(t, { policy: { ...pullAll, mode: 'client' } });
  assert.equal(layers.refusal?.reason, 'no_toc');
});

test('UnindexedLayers leaves layers to clients that are too small or too large, and says which bound that is', async (t) => {
  const small = layersWith(t, { policy: { ...pullAll, minBytes: 1001 } });
  await assert.rejects(small.make(), { reason: 'size', message: /less than min_size/ });
  const large = layersWith(t, { policy: { ...pullAll, maxBytes: 999 } });
  await assert.rejects(large.make(), { reason: 'size', message: /more than max_size/ });
  await assert.rejects(layersWith(t, { policy: { ...pullAll, maxBytes: 1000 } }).make(), /pulled/);
});

test('UnindexedLayers pulls the other layers of an image that have no index of any kind and are not here', async (t) => {
  const { layers, ref, begun, asked } = layersWith(t, { kept: [fourth] });
  layers.attend(ref([second, third, fourth]));
  await settled();
  assert.deepEqual(begun, [second], 'the third is eStargz, the fourth is here');
  assert.deepEqual(asked, [reference]);
});

test('UnindexedLayers pulls even eStargz layers of an image whose registry gives no parts', async (t) => {
  const { layers, ref, begun } = layersWith(t, { kept: [fourth], isWithoutRanges: true });
  layers.attend(ref([second, third, fourth]));
  await settled();
  assert.deepEqual(begun, [second, third]);
  const kept = layersWith(t, { kept: [fourth, tocDigest], isWithoutRanges: true });
  kept.layers.attend(kept.ref([second, third, fourth]));
  await settled();
  assert.deepEqual(kept.begun, [second], 'the third is here, by its table of contents');
});

test('UnindexedLayers begins with the other layers before the manifest says which of them are eStargz', async (t) => {
  const { layers, ref, begun, givenUp } = layersWith(t);
  layers.attend(ref([second, third, fourth]));
  await settled();
  assert.deepEqual([begun, givenUp], [[second, fourth], [third]]);
  const bounded = layersWith(t, { policy: { ...pullAll, maxBytes: 999 } });
  bounded.layers.attend(bounded.ref([second, fourth]));
  await settled();
  assert.deepEqual([bounded.begun, bounded.givenUp], [[], [second, fourth]], 'they are too large');
});

test('UnindexedLayers asks for no manifest if all other layers are here or have an index', async (t) => {
  const { layers, ref, begun, asked } = layersWith(t, { kept: [second], indexed: [fourth] });
  layers.attend(ref([second, fourth]));
  await settled();
  assert.deepEqual([begun, asked], [[], []]);
});

test('UnindexedLayers pulls a layer whose index is damaged, and does not take that index again', async (t) => {
  const { make, poisoned } = layersWith(t, { indexed: [first] });
  await assert.rejects(make(), /pulled/);
  assert.equal(poisoned.length, 1);
});

test('UnindexedLayers looks at the layers of an image once while its client goes through them', async (t) => {
  const { layers, ref, begun } = layersWith(t);
  layers.attend(ref([second, fourth]))(true);
  await settled();
  assert.deepEqual(begun, [second, fourth]);
  layers.attend(ref([second, fourth]))(true);
  layers.attend(ref([second]))(true);
  await settled();
  assert.deepEqual(begun, [second, fourth]);
  // A client that has given up may come back.
  layers.attend(ref([second]))(false);
  begun.length = 0;
  layers.attend(ref([second, fourth]))(true);
  await settled();
  assert.deepEqual(begun, [second, fourth]);
});
