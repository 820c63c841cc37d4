import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { sha256 } from '../../../src/chunks/digest.ts';
import { RegistryImage } from '../../../src/images/image-access.ts';
import { ociIndex, ociManifest } from '../../../src/images/media-types.ts';
import type { CredentialSource, Wanted } from '../../../src/registry/auth/credentials/credential-source.ts';
import { RegistryClient } from '../../../src/registry/client.ts';
import { startRegistry } from '../../support/registry.ts';

const bytes = Buffer.from('some bytes of a layer');
const users = { me: 'secret' };

/** A registry with an image of one layer, and a client that notes what credentials are asked for. */
async function start(t: TestContext) {
  const registry = await startRegistry({ auth: 'token', users });
  const wanted: Wanted[] = [];
  const source: CredentialSource = {
    place: 'a test',
    find: (each) => {
      wanted.push(each);
      return Promise.resolve({ kind: 'password', username: 'me', password: users.me });
    },
    advice: () => '',
  };
  const client = new RegistryClient({ credentials: [source], environment: {}, retry: { tries: 1 } });
  t.after(async () => {
    await client.close();
    await registry.close();
  });
  const layer = {
    mediaType: 'application/vnd.oci.image.layer.v1.tar',
    digest: registry.addBlob(bytes),
    size: bytes.length,
  };
  const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: sha256(bytes), size: 1 };
  const document = { schemaVersion: 2, mediaType: ociManifest, config, layers: [layer] };
  const digest = registry.addManifest('app', '1', ociManifest, Buffer.from(JSON.stringify(document)));
  const attached = { mediaType: ociManifest, digest, size: 1, artifactType: 'text/x-note' };
  const list = { schemaVersion: 2, mediaType: ociIndex, manifests: [attached] };
  registry.addManifest('app', digest.replace(':', '-'), ociIndex, Buffer.from(JSON.stringify(list)));
  return { client, wanted, digest, layer, name: `${registry.host}/app` };
}

test('RegistryImage gives the manifest, blobs and other documents of a repository, and what is attached', async (t) => {
  const { client, digest, layer, name } = await start(t);
  const image = new RegistryImage(client, `${name}:1@${digest}`);
  const { layers } = await image.manifest();
  assert.deepEqual(
    layers.map((each) => each.digest),
    [layer.digest],
  );
  assert.deepEqual((await image.blob(layer.digest).tail(5)).data, bytes.subarray(-5));
  assert.equal(sha256(await image.document(digest, ociManifest)), digest);
  const [attached] = await image.referrers('text/x-note');
  assert.equal(attached?.digest, digest);
});

test('RegistryImage knows nothing attached to an image that is not named by its digest, and no image that is none', async (t) => {
  const { client, layer, name } = await start(t);
  await assert.rejects(new RegistryImage(client, `${name}:1`).referrers('text/x-note'), { code: 'NotFound' });
  const none = new RegistryImage(client, 'Not A Name');
  assert.throws(() => none.blob(layer.digest), { code: 'InvalidArgument' });
  await assert.rejects(none.manifest(), { code: 'InvalidArgument' });
});

test('RegistryImage asks for credentials with the labels of the snapshot, and keeps what comes of a blob', async (t) => {
  const { client, wanted, layer, name } = await start(t);
  const labels = { 'example.com/pod': 'a' };
  const kept: string[] = [];
  const image = new RegistryImage(client.withLabels(labels), `${name}:1`, (blob) => {
    kept.push(blob.digest);
    return blob;
  });
  await image.blob(layer.digest).tail(5);
  assert.deepEqual(wanted, [{ host: name.split('/')[0], repository: 'app', labels }]);
  assert.deepEqual(kept, [layer.digest]);
  await image.manifest();
  assert.equal(wanted.length, 1, 'what was granted counts for the repository');
});
