import type { IndexArtifact } from './artifact.ts';
import { codeOf, LazypullError } from '../errors.ts';
import type { Blob } from '../registry/blob/blob.ts';
import type { IndexOrigin } from './index-origin.ts';
import type { IndexStore, StoredIndex } from './index-store.ts';

/** The index of a layer that may be used: in the node's store, or in a registry, with only its tail here. */
export interface FoundIndex {
  readonly layer: string;
  /** `sha256:<hex>` of the index file, and its bytes. */
  readonly digest: string;
  readonly size: number;
  readonly origin: IndexOrigin;
  /** The key that signed it, by its ID; undefined if it is not signed. */
  readonly signedBy: string | undefined;
  /**
   * The file, if all of it is in the node's store: its bytes [0, size) are the index. A hard link to it survives its
   * removal from there.
   */
  readonly path: string | undefined;
  /**
   * The bytes [start, end) of the index file: from the store, from the tail in memory, or with a ranged request. Throws
   * as `Blob.range`.
   */
  range(start: number, end: number, signal?: AbortSignal): Promise<Buffer>;
  /**
   * Brings the whole index into the node's store, once for all callers, and resolves to `path`. The signal of the first
   * caller ends it. Throws DataLoss if it does not have its digest.
   */
  whole(signal?: AbortSignal): Promise<string>;
  /**
   * Notes that it contradicts the layer: it is removed here, and not used again while this process lives. `reason`
   * stands behind "it", as in "is wrong: it is truncated".
   */
  poison(reason: string): void;
}

/** The parts of a found index. */
export interface FoundParts {
  readonly store: IndexStore;
  readonly index: IndexArtifact;
  readonly origin: IndexOrigin;
  readonly onPoison: (reason: string) => void;
}

/** The common part. */
abstract class KnownIndex {
  readonly layer: string;
  readonly digest: string;
  readonly size: number;
  readonly origin: IndexOrigin;
  readonly signedBy: string | undefined;
  readonly poison: (reason: string) => void;

  constructor(index: Omit<IndexArtifact, 'tail'>, origin: IndexOrigin, onPoison: (reason: string) => void) {
    this.layer = index.layer;
    this.digest = index.digest;
    this.size = index.size;
    this.signedBy = index.signature?.key;
    this.origin = origin;
    this.poison = onPoison;
  }
}

/** An index that is complete in the store. */
export class LocalIndex extends KnownIndex implements FoundIndex {
  readonly #store: IndexStore;
  readonly #kept: StoredIndex;

  constructor(store: IndexStore, kept: StoredIndex, onPoison: (reason: string) => void) {
    super(kept, kept.origin, onPoison);
    this.#store = store;
    this.#kept = kept;
  }

  get path(): string {
    return this.#kept.path;
  }

  range(start: number, end: number): Promise<Buffer> {
    return this.#store.read(this.#kept, start, end);
  }

  whole(): Promise<string> {
    return Promise.resolve(this.#kept.path);
  }
}

/** An index in a registry whose tail is here. */
export class RemoteIndex extends KnownIndex implements FoundIndex {
  readonly #store: IndexStore;
  readonly #blob: Blob;
  readonly #tail: Buffer;
  readonly #index: IndexArtifact;
  #keeping: Promise<StoredIndex> | undefined;
  #kept: StoredIndex | undefined;

  /** `tail` was compared with its digest. */
  constructor({ store, index, origin, onPoison }: FoundParts, blob: Blob, tail: Buffer) {
    super(index, origin, onPoison);
    this.#store = store;
    this.#blob = blob;
    this.#tail = tail;
    this.#index = index;
  }

  get path(): string | undefined {
    return this.#kept?.path;
  }

  async range(start: number, end: number, signal?: AbortSignal): Promise<Buffer> {
    const tailStart = this.size - this.#tail.length;
    if (start >= tailStart && end <= this.size) return this.#tail.subarray(start - tailStart, end - tailStart);
    if (this.#kept !== undefined) {
      try {
        return await this.#store.read(this.#kept, start, end);
      } catch (error) {
        if (codeOf(error) !== 'NotFound') throw error;
        this.#kept = undefined;
      }
    }
    if (start < 0 || start > end || end > this.size) {
      throw new LazypullError('DataLoss', `A layer index of ${this.size} bytes has no bytes ${start} to ${end}`);
    }
    return start === end ? Buffer.alloc(0) : Buffer.concat(await Array.fromAsync(this.#blob.range(start, end, signal)));
  }

  async whole(signal?: AbortSignal): Promise<string> {
    if (this.#kept !== undefined) return this.#kept.path;
    this.#keeping ??= this.#store
      .keep({ ...this.#index, origin: this.origin }, this.#blob.range(0, this.size, signal))
      .finally(() => (this.#keeping = undefined));
    this.#kept = await this.#keeping;
    return this.#kept.path;
  }
}
