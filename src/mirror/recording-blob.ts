import type { Blob } from '../registry/blob/blob.ts';
import type { SharedBlob } from './shared-blob.ts';

/** A blob that stays open until this is disposed of. */
export interface BlobLease extends Disposable {
  readonly blob: SharedBlob;
}

/**
 * A blob of a registry. Everything that arrives is kept, and what is here is not fetched. It fails only if the registry
 * does.
 */
export class RecordingBlob implements Blob {
  readonly digest: string;
  readonly #lease: () => Promise<BlobLease | undefined>;
  readonly #upstream: Blob;

  /** @param lease opens the kept part of the blob; undefined if that fails */
  constructor(lease: () => Promise<BlobLease | undefined>, upstream: Blob) {
    this.digest = upstream.digest;
    this.#lease = lease;
    this.#upstream = upstream;
  }

  async tail(bytes: number, signal?: AbortSignal, onBytes?: () => void): Promise<{ data: Buffer; size: number }> {
    using lease = await this.#lease();
    const upstream = this.#upstream;
    if (lease === undefined) return await upstream.tail(bytes, signal, onBytes);
    return await lease.blob.tail(upstream, bytes, signal, onBytes);
  }

  describe(signal?: AbortSignal): Promise<{ size: number; takesRanges: boolean }> {
    return this.#upstream.describe(signal);
  }

  async *range(start: number, end: number, signal?: AbortSignal): AsyncGenerator<Buffer, void> {
    for await (const { data } of this.ranges([{ start, end }], signal)) yield data;
  }

  async *ranges(
    parts: readonly { readonly start: number; readonly end: number }[],
    signal?: AbortSignal,
  ): AsyncGenerator<{ part: number; data: Buffer }, void> {
    using lease = await this.#lease();
    if (lease === undefined) yield* this.#upstream.ranges(parts, signal);
    else yield* lease.blob.ranges(this.#upstream, parts, signal);
  }

  async distrust(askedMs: number): Promise<boolean> {
    using lease = await this.#lease();
    return lease === undefined ? this.#upstream.distrust(askedMs) : await lease.blob.distrust(this.#upstream, askedMs);
  }
}
