import { createHash, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IndexArtifact } from '../../src/indexes/artifact.ts';
import { encodeArtifact, indexArtifactType, tagOfLayer } from '../../src/indexes/artifact.ts';
import { ociManifest } from '../../src/images/media-types.ts';
import { RegistryClient } from '../../src/registry/client.ts';
import type { TestRegistry } from './registry.ts';

/** Bytes that stand for an index, and what a registry says of them. Stores of indexes do not look into them. */
export interface MadeIndex {
  readonly bytes: Buffer;
  readonly index: IndexArtifact;
}

/** The digest of a layer that is made up. */
export function layerDigest(name: string): string {
  return sha256(Buffer.from(name));
}

export function madeIndex(layer: string, size = 5000, tailBytes = 700): MadeIndex {
  const bytes = randomBytes(size);
  const tail = { bytes: tailBytes, digest: sha256(bytes.subarray(size - tailBytes)) };
  return { bytes, index: { layer, digest: sha256(bytes), size, tail } };
}

/** Puts an index into a repository of a test registry, as a push does; `change` spoils the manifest. */
export function offer(
  registry: TestRegistry,
  repository: string,
  { bytes, index }: MadeIndex,
  change: (index: IndexArtifact) => IndexArtifact = (same) => same,
): string {
  registry.addBlob(bytes);
  return registry.addManifest(repository, tagOfLayer(index.layer), ociManifest, encodeArtifact(change(index)));
}

/** What a registry lists of an index that is attached to an image. */
export function referrerOf(digest: string, size: number, layer: string): object {
  const annotations = { 'vnd.lazypull.layer': layer };
  return { mediaType: ociManifest, digest, size, artifactType: indexArtifactType, annotations };
}

export function keyPair(): { privateKey: KeyObject; publicPem: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { privateKey, publicPem: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
}

export function quickClient(): RegistryClient {
  return new RegistryClient({ retry: { tries: 2, minDelayMs: 1, maxDelayMs: 2 }, environment: {} });
}

/** A directory that stands for the root of a daemon. */
export async function temporaryRoot(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'index-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
