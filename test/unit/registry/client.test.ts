import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { codeOf, type ErrorCode, messageOf } from '../../../src/errors.ts';
import { RegistryClient } from '../../../src/registry/client.ts';
import { parseReference, type Reference } from '../../../src/registry/reference.ts';
import { digestOf, type Fault, startRegistry } from '../../support/registry.ts';
import { knownUser } from '../../support/known-user.ts';

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: manifestType }));

function quickClient(): RegistryClient {
  return new RegistryClient({
    retry: { tries: 3, minDelayMs: 1, maxDelayMs: 2 },
    timeouts: { headersMs: 300, bodyIdleMs: 300 },
    environment: {},
  });
}

function fails(promise: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  return assert.rejects(promise, (error) => {
    assert.match(messageOf(error), message);
    assert.equal(codeOf(error), code);
    return true;
  });
}

test('manifest() reads by tag, by digest and the latest', async () => {
  await using registry = await startRegistry();
  await using client = quickClient();
  const digest = registry.addManifest('a/b', 'latest', manifestType, manifest);
  for (const suffix of ['', ':latest', `@${digest}`, `:other@${digest}`]) {
    assert.deepEqual(await client.manifest(parseReference(`${registry.host}/a/b${suffix}`)), {
      mediaType: manifestType,
      digest,
      bytes: manifest,
    });
  }
  assert.match(registry.requests[0]?.headers.accept ?? '', /^application\/vnd\.oci\.image\.index\.v1\+json, /);
  await client.manifest(parseReference(`${registry.host}/a/b`), ['x/y']);
  assert.equal(registry.requests.at(-1)?.headers.accept, 'x/y');
  await fails(
    client.manifest(parseReference(`${registry.host}/a/b:no`)),
    'NotFound',
    /404 Not Found \(MANIFEST_UNKNOWN: manifest unknown\)/,
  );
});

test('manifest() verifies the digest of the reference, sha512 too', async () => {
  await using registry = await startRegistry();
  await using client = quickClient();
  const digest = registry.addManifest('a', undefined, manifestType, manifest);
  registry.script({}, { kind: 'corrupt' });
  await fails(
    client.manifest(parseReference(`${registry.host}/a@${digest}`)),
    'DataLoss',
    /does not have the digest "sha256:/,
  );
  const sha512 = `sha512:${createHash('sha512').update(manifest).digest('hex')}`;
  registry.manifests.set(`a@${sha512}`, { mediaType: manifestType, bytes: manifest });
  assert.equal((await client.manifest(parseReference(`${registry.host}/a@${sha512}`))).digest, sha512);
});

test('manifest() believes the media type inside before that of the header', async () => {
  await using registry = await startRegistry();
  await using client = quickClient();
  registry.addManifest('a', 'in', 'text/plain', manifest);
  registry.addManifest('a', 'out', `${manifestType}; charset=utf-8`, Buffer.from('{}'));
  registry.addManifest('a', 'none', '', Buffer.from('no json'));
  assert.equal((await client.manifest(parseReference(`${registry.host}/a:in`))).mediaType, manifestType);
  assert.equal((await client.manifest(parseReference(`${registry.host}/a:out`))).mediaType, manifestType);
  await fails(client.manifest(parseReference(`${registry.host}/a:none`)), 'DataLoss', /no media type/);
});

test('manifest() bounds the size and tries again', async () => {
  await using registry = await startRegistry();
  await using client = quickClient();
  registry.addManifest('a', 'big', manifestType, Buffer.alloc(4 * 1024 * 1024 + 1));
  registry.addManifest('a', 'ok', manifestType, manifest);
  await fails(
    client.manifest(parseReference(`${registry.host}/a:big`)),
    'ResourceExhausted',
    /longer than 4194304 bytes/,
  );
  registry.script({}, { kind: 'reset', after: 5 }, { kind: 'stall', after: 5 });
  await client.manifest(parseReference(`${registry.host}/a:ok`));
});

test('blob() refuses what is no digest', () => {
  const client = quickClient();
  for (const digest of ['', 'sha256:x', '../../secret', `sha256:${'a'.repeat(64)}?x`]) {
    assert.throws(() => client.blob(parseReference('a'), digest), /is not a digest/);
  }
});

const content = randomBytes(300_000);
const blob = { digest: digestOf(content), size: content.length };
const pieces = (): Readable => Readable.from([content.subarray(0, 1000), content.subarray(1000)]);

for (const auth of ['none', 'basic', 'token'] as const) {
  test(`pushBlob() and pushManifest() write what can be read again, with auth ${auth}`, async () => {
    await using registry = await startRegistry({ auth, users: { me: 'secret' } });
    const credentials = [knownUser({ username: 'me', password: 'secret' })];
    await using client = new RegistryClient({ credentials, environment: {} });
    const reference = parseReference(`${registry.host}/x/y:tag`);
    assert.equal(await client.blobExists(reference, blob.digest), false);
    await client.pushBlob(reference, blob, pieces);
    assert.equal(await client.blobExists(reference, blob.digest), true);
    assert.deepEqual(registry.blobs.get(blob.digest), content);
    await client.pushBlob(reference, { digest: digestOf(Buffer.from('b')), size: 1 }, Buffer.from('b'));
    await client.pushBlob(reference, { digest: digestOf(Buffer.alloc(0)), size: 0 }, Buffer.alloc(0));
    const digest = await client.pushManifest(reference, manifestType, manifest);
    assert.equal(digest, digestOf(manifest));
    assert.deepEqual((await client.manifest(reference)).bytes, manifest);
    assert.equal(await client.pushManifest({ ...reference, digest }, manifestType, manifest), digest);
  });
}

test('pushBlob() mounts a blob from another repository if the registry has it there', async () => {
  await using registry = await startRegistry();
  await using client = quickClient();
  const reference = parseReference(`${registry.host}/to`);
  await client.pushBlob(reference, blob, pieces, 'from');
  assert.deepEqual(
    registry.requests.map(({ method, status }) => `${method} ${status}`),
    ['POST 202', 'PUT 201'],
  );
  registry.resetCounts();
  await client.pushBlob(reference, blob, pieces, 'from');
  assert.deepEqual(
    registry.requests.map(({ method, path }) => `${method} ${path}`),
    [`POST /v2/to/blobs/uploads/?mount=${encodeURIComponent(blob.digest)}&from=from`],
  );
});

test('pushBlob() starts again after a failure that may pass, with a new stream', async () => {
  const faults: Fault[] = [
    { kind: 'status', status: 500 },
    { kind: 'reset', after: -1 },
  ];
  for (const method of ['POST', 'PUT']) {
    for (const fault of faults) {
      await using registry = await startRegistry();
      await using client = quickClient();
      registry.script({ method }, fault);
      await client.pushBlob(parseReference(`${registry.host}/x`), blob, pieces);
      assert.deepEqual(registry.blobs.get(blob.digest), content);
    }
  }
});

test('pushBlob() tells a wrong digest, a wrong size and a broken source', async () => {
  await using registry = await startRegistry();
  await using client = quickClient();
  const reference: Reference = parseReference(`${registry.host}/x`);
  const other = { ...blob, digest: digestOf(Buffer.from('other')) };
  await fails(
    client.pushBlob(reference, other, pieces),
    'FailedPrecondition',
    /400 Bad Request \(DIGEST_INVALID: digest mismatch\)/,
  );
  await fails(
    client.pushBlob(reference, { ...blob, size: 5 }, pieces),
    'Unavailable',
    /Request body length does not match/,
  );
  const broken = (): Readable =>
    new Readable({
      read() {
        this.destroy(new Error('the disk is gone'));
      },
    });
  await fails(client.pushBlob(reference, blob, broken), 'Unavailable', /the disk is gone/);
  await fails(client.pushBlob(reference, blob, pieces, undefined, AbortSignal.abort()), 'Canceled', /./);
});

test('manifestHead() tells what a manifest is without fetching it, if the registry says all of it', async () => {
  await using registry = await startRegistry();
  await using client = quickClient();
  const digest = registry.addManifest('a', 'x', manifestType, manifest);
  const reference = parseReference(`${registry.host}/a:x`);
  assert.deepEqual(await client.manifestHead(reference), { mediaType: manifestType, digest, size: manifest.length });
  assert.equal(registry.bytes, 0);
  const fault = { kind: 'status', status: 200, body: 'some text' } as const;
  for (const headers of [
    { 'content-type': manifestType },
    { 'docker-content-digest': digest },
    { 'docker-content-digest': 'sha256:x', 'content-type': manifestType },
  ] as Record<string, string>[]) {
    registry.script({ method: 'HEAD' }, { ...fault, headers });
    assert.equal(await client.manifestHead(reference), undefined);
  }
  const other = parseReference(`${registry.host}/a@${digestOf(Buffer.from('other'))}`);
  const headers = { 'docker-content-digest': digest, 'content-type': manifestType };
  registry.script({ method: 'HEAD' }, { ...fault, headers }, { ...fault, headers, body: '' });
  assert.equal(await client.manifestHead(other), undefined, 'it is another one');
  assert.equal(await client.manifestHead(reference), undefined, 'its size is not told');
  await fails(client.manifestHead(parseReference(`${registry.host}/a:no`)), 'NotFound', /404 Not Found/);
});
