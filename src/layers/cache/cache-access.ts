/** The files of a layer on the disk. */
export interface CachedLayer {
  readonly digest: string;
  /** The digest of its index. The name is older than other formats, and that of `lazypull cache --json`. */
  readonly tocDigest: string;
  /** Disk space in bytes. */
  readonly bytes: number;
  /** In milliseconds since 1970. */
  readonly lastUsedMs: number;
  readonly inUse: boolean;
}

/** A layer and how much of it is here. */
export interface ListedLayer extends CachedLayer {
  /** Bytes of its files, and how many of them are on the disk. */
  readonly contentBytes: number;
  readonly presentBytes: number;
}

/** A layer and the result of verifying it; undefined if its files could not be read. */
export interface VerifiedLayer {
  readonly layer: CachedLayer;
  readonly found: Verified | undefined;
}

/** The number of a layer's parts on the disk, and of the damaged ones: they are fetched again when they are read. */
export interface Verified {
  readonly parts: number;
  readonly damaged: number;
}

/** Removes unused layers that were not used for so long, longest first, until only `keepBytes` are left. */
export interface PruneOptions {
  readonly unusedMs: number;
  readonly keepBytes: number;
}

/** What a cache can do, in this process or another. */
export interface CacheAccess {
  /** All layers, the longest unused first. */
  list(): AsyncIterable<ListedLayer>;
  /** Yields the removed layers. */
  prune(options: PruneOptions): AsyncIterable<CachedLayer>;
  /** Verifies everything that is on the disk. */
  verify(): AsyncIterable<VerifiedLayer>;
}

/** Something besides the layers that counts under the same limits. */
export interface CacheNeighbour {
  /** In bytes, and in milliseconds since 1970. `remove` resolves to false if it is in use. */
  list(): Promise<{ readonly bytes: number; readonly lastUsedMs: number; remove(): Promise<boolean> }[]>;
}
