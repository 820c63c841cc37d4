import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeArtifact, tagOfLayer } from '../../../src/indexes/artifact.ts';
import type { LayerIndexes } from '../../../src/indexes/layer-indexes.ts';
import { defaultIndexConfig, openLayerIndexes } from '../../../src/indexes/open-layer-indexes.ts';
import { ociManifest } from '../../../src/images/media-types.ts';
import { silentLog } from '../../../src/log.ts';
import { RegistryClient } from '../../../src/registry/client.ts';
import { layerDigest, madeIndex, temporaryRoot } from '../../support/index-lab.ts';
import { LongLink } from '../../support/long-link.ts';
import { type RegistryOptions, startRegistry } from '../../support/registry.ts';
import { testTls } from '../../support/tls.ts';

const repository = 'team/indexes';
const layers = Array.from({ length: 10 }, (_, i) => layerDigest(`layer ${i}`));

interface Far extends AsyncDisposable {
  readonly indexes: LayerIndexes;
  readonly link: LongLink;
  /** Round trips until all layers were looked for, and how many were found. */
  lookup(): Promise<{ roundTrips: number; found: number }>;
}

/**
 * A machine far from the registry of its indexes, which has those of all layers, each with a tail of 200 KB, or of
 * none.
 */
async function farMachine(options: RegistryOptions, hasIndexes: boolean): Promise<Far> {
  await using parts = new AsyncDisposableStack();
  const root = parts.use(await temporaryRoot());
  const registry = parts.use(await startRegistry(options));
  const link = parts.use(await LongLink.to(Number(registry.host.split(':')[1])));
  const client = parts.use(new RegistryClient({ certificates: [testTls.cert], environment: {} }));
  if (hasIndexes) {
    for (const layer of layers) {
      const { bytes, index } = madeIndex(layer, 1_000_000, 200_000);
      registry.addBlob(bytes);
      const manifest = encodeArtifact(index, undefined, bytes.subarray(-200_000));
      registry.addManifest(repository, tagOfLayer(layer), ociManifest, manifest);
    }
  }
  const config = { ...defaultIndexConfig, repository: `${link.host}/${repository}`, lookup_timeout_msec: 60_000 };
  const indexes = parts.use(await openLayerIndexes(root.path, config, client, silentLog));
  const all = parts.move();
  const lookup = async () => {
    const before = link.roundTrips;
    indexes.lookAhead(layers);
    const found = await Promise.all(layers.map((layer) => indexes.find(layer)));
    return { roundTrips: link.roundTrips - before, found: found.filter((each) => each !== undefined).length };
  };
  return { indexes, link, lookup, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Round trips of the indexes of all layers of an image. More connections than are open take one more. */
const registries: Record<string, { options: RegistryOptions; most: number }> = {
  'HTTP/1.1': { options: {}, most: 2 },
  'HTTP/2 over TLS': { options: { tls: testTls }, most: 1 },
  'HTTP/2 over TLS, with tokens': { options: { tls: testTls, auth: 'token', anonymousPull: true }, most: 1 },
};

for (const [name, { options, most }] of Object.entries(registries)) {
  for (const hasIndexes of [true, false]) {
    const what = hasIndexes ? 'finds all indexes' : 'knows that there are no indexes';
    test(`LayerIndexes.lookAhead ${what} of an image after ${most} round trips (${name})`, async () => {
      await using far = await farMachine(options, hasIndexes);
      await far.indexes.warmUp();
      const { roundTrips, found } = await far.lookup();
      assert.equal(found, hasIndexes ? layers.length : 0);
      assert.ok(roundTrips <= most, `${roundTrips} round trips`);
    });
  }
}

test('LayerIndexes.lookAhead needs no connection for the first layers that it asks for', async () => {
  await using far = await farMachine({}, true);
  await far.indexes.warmUp();
  const open = far.link.connections;
  far.indexes.lookAhead(layers.slice(0, 4));
  const before = far.link.roundTrips;
  await Promise.all(layers.slice(0, 4).map((layer) => far.indexes.find(layer)));
  assert.equal(far.link.roundTrips - before, 1);
  assert.equal(far.link.connections, open);
});
