import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { parsePlatform, platformText, thisPlatform } from '../../../src/images/platforms.ts';
import { resolveImage } from '../../../src/images/resolve.ts';
import { RegistryClient } from '../../../src/registry/client.ts';
import { parseReference } from '../../../src/registry/reference.ts';
import { startRegistry, type TestRegistry } from '../../support/registry.ts';

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const indexType = 'application/vnd.oci.image.index.v1+json';

async function start(t: TestContext) {
  const registry = await startRegistry();
  const client = new RegistryClient({ environment: {}, retry: { tries: 1 } });
  t.after(async () => {
    await client.close();
    await registry.close();
  });
  const resolve = (name: string, platform?: string) => {
    const asked = platform === undefined ? undefined : parsePlatform(platform);
    return resolveImage(client, parseReference(`${registry.host}/${name}`), asked);
  };
  return { registry, resolve };
}

/** Serves an image for a platform. @returns the descriptor of its manifest */
function addImage(registry: TestRegistry, tag: string | undefined, platform: { os: string; architecture: string }) {
  const config = Buffer.from(JSON.stringify({ ...platform, rootfs: { type: 'layers', diff_ids: [] } }));
  const configOf = {
    mediaType: 'application/vnd.oci.image.config.v1+json',
    digest: registry.addBlob(config),
    size: config.length,
  };
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config: configOf, layers: [] }),
  );
  const digest = registry.addManifest('app', tag, manifestType, bytes);
  return { mediaType: manifestType, digest, size: bytes.length };
}

function addIndex(registry: TestRegistry, tag: string, manifests: readonly object[]): string {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }));
  return registry.addManifest('app', tag, indexType, bytes);
}

test('resolveImage takes an image that is in no index as it is, and reads no configuration for it', async (t) => {
  const { registry, resolve } = await start(t);
  const { digest } = addImage(registry, '1', { os: 'plan9', architecture: 'mips' });
  const image = await resolve('app:1');
  assert.deepEqual(
    [image.digest, image.mediaType, image.platform, image.configuration, image.documents.length, image.isFirst],
    [digest, manifestType, undefined, undefined, 1, true],
  );
});

test('resolveImage compares a platform that was asked for with the configuration', async (t) => {
  const { registry, resolve } = await start(t);
  addImage(registry, '1', { os: 'linux', architecture: 'arm64' });
  const image = await resolve('app:1', 'linux/arm64');
  assert.equal(image.platform, 'linux/arm64');
  assert.match(String(image.configuration), /arm64/);
  await assert.rejects(resolve('app:1', 'linux/s390x'), {
    code: 'NotFound',
    message: /has no platform "linux\/s390x": it is a single image for linux\/arm64/,
  });
});

test('resolveImage chooses from an index what this machine runs, or what was asked for', async (t) => {
  const { registry, resolve } = await start(t);
  const { os, architecture } = thisPlatform;
  const members = [
    { ...addImage(registry, undefined, { os, architecture: 's390x' }), platform: { os, architecture: 's390x' } },
    { ...addImage(registry, undefined, { os, architecture }), platform: { os, architecture } },
  ];
  const index = addIndex(registry, '1', members);
  const own = await resolve('app:1');
  assert.deepEqual([own.digest, own.platform], [members[1]!.digest, platformText({ ...thisPlatform, variant: '' })]);
  assert.deepEqual(
    own.documents.map(({ digest }) => digest),
    [index, members[1]!.digest],
  );
  assert.equal((await resolve('app:1', 'linux/s390x')).digest, members[0]!.digest);
  await assert.rejects(resolve('app:1', 'linux/ppc64le'), { code: 'NotFound' });
});

test('resolveImage refuses what is no container image, and says what it is', async (t) => {
  const { registry, resolve } = await start(t);
  const config = {
    mediaType: 'application/vnd.cncf.helm.config.v1+json',
    digest: registry.addBlob(Buffer.from('{}')),
    size: 2,
  };
  const chart = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config, layers: [] }));
  registry.addManifest('chart', '1', manifestType, chart);
  await assert.rejects(resolve('chart:1'), {
    code: 'InvalidArgument',
    message: /is not a container image but "application\/vnd\.cncf\.helm\.config\.v1\+json"/,
  });
  await assert.rejects(resolve('none:1'), { code: 'NotFound' });
});
