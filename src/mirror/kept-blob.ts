import type { Blob } from '../registry/blob.ts';
import type { BlobStore } from './blob-store.ts';

/** A blob of a registry of which everything that comes is kept, and what is here is not fetched. It never fails where the registry does not. */
export class KeptBlob implements Blob {
  readonly digest: string;
  readonly #store: BlobStore;
  readonly #upstream: Blob;

  constructor(store: BlobStore, upstream: Blob) {
    this.digest = upstream.digest;
    this.#store = store;
    this.#upstream = upstream;
  }

  async tail(bytes: number, signal?: AbortSignal, onBytes?: () => void): Promise<{ data: Buffer; size: number }> {
    using lease = await this.#store.lease(this.digest);
    const upstream = this.#upstream;
    if (lease === undefined) return await upstream.tail(bytes, signal, onBytes);
    return await lease.blob.tail(upstream, bytes, signal, onBytes);
  }

  async *range(start: number, end: number, signal?: AbortSignal): AsyncGenerator<Buffer, void> {
    for await (const { data } of this.ranges([{ start, end }], signal)) yield data;
  }

  async *ranges(
    parts: readonly { readonly start: number; readonly end: number }[],
    signal?: AbortSignal,
  ): AsyncGenerator<{ part: number; data: Buffer }, void> {
    using lease = await this.#store.lease(this.digest);
    if (lease === undefined) yield* this.#upstream.ranges(parts, signal);
    else yield* lease.blob.ranges(this.#upstream, parts, signal);
  }

  async distrust(askedMs: number): Promise<boolean> {
    using lease = await this.#store.lease(this.digest);
    return lease === undefined ? this.#upstream.distrust(askedMs) : await lease.blob.distrust(this.#upstream, askedMs);
  }
}
