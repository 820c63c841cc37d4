import type { Manifest } from '../registry/client.ts';

const maxManifests = 256;
const maxBytes = 16 << 20;

/** Manifests by digest, which never change. The least recently used ones are forgotten first. */
export class ManifestCache {
  readonly #manifests = new Map<string, Manifest>();
  #bytes = 0;

  get(digest: string): Manifest | undefined {
    const manifest = this.#manifests.get(digest);
    if (manifest !== undefined) {
      this.#manifests.delete(digest);
      this.#manifests.set(digest, manifest);
    }
    return manifest;
  }

  add(manifest: Manifest): void {
    if (this.#manifests.has(manifest.digest)) return;
    this.#manifests.set(manifest.digest, manifest);
    this.#bytes += manifest.bytes.length;
    for (const oldest of this.#manifests.values()) {
      if (this.#manifests.size <= maxManifests && this.#bytes <= maxBytes) break;
      this.#manifests.delete(oldest.digest);
      this.#bytes -= oldest.bytes.length;
    }
  }
}
