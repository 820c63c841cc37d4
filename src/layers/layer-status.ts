/** What a mounted layer is doing. */
export interface LayerStatus {
  /** `sha256:<hex>` of the compressed layer. */
  readonly digest: string;
  /** The images that it was mounted for, a few at most. */
  readonly references: readonly string[];
  /** When it was mounted first, in milliseconds since 1970. */
  readonly mountedMs: number;
  readonly mounts: number;
  /** Bytes of the compressed layer. */
  readonly blobBytes: number;
  /** Bytes of its files, and how many of them are on the disk. */
  readonly contentBytes: number;
  readonly presentBytes: number;
  /** Bytes of the compressed layer that were fetched since it was mounted, and those a second now. */
  readonly fetchedBytes: number;
  readonly bytesPerSecond: number;
  /** Reads that wait for data now, and those that failed since it was mounted. */
  readonly waiting: number;
  readonly errors: number;
}
