import type { PullStatus } from './resolve/layer-pulls.ts';

/** The state of a layer that is mounted, or that is being pulled to be mounted. */
export interface LayerStatus {
  /** `sha256:<hex>` of the compressed layer. */
  readonly digest: string;
  /** The images that it was mounted for, only a few. */
  readonly references: readonly string[];
  /** When it was first mounted, in milliseconds since 1970. */
  readonly mountedMs: number;
  readonly mounts: number;
  /** Bytes of the compressed layer. */
  readonly blobBytes: number;
  /** Bytes of its files, and how many of them are on the disk. */
  readonly contentBytes: number;
  readonly presentBytes: number;
  /** Bytes of the compressed layer that were fetched since it was mounted, and the present rate per second. */
  readonly fetchedBytes: number;
  readonly bytesPerSecond: number;
  /** Reads that wait for data now, and reads that failed since it was mounted. */
  readonly waiting: number;
  readonly errors: number;
  /**
   * Whether it is still being pulled. Then it was never mounted: `mountedMs` is the start of the pull, and the bytes of
   * its files are those of the blob.
   */
  readonly pulling?: boolean;
}

/** The status of a layer that is being pulled, in the form of a mounted one. */
export function statusOfPull({ reference, startedMs, doneBytes, totalBytes, ...pull }: PullStatus): LayerStatus {
  const bytes = { blobBytes: totalBytes, contentBytes: totalBytes, presentBytes: doneBytes, fetchedBytes: doneBytes };
  return { ...pull, ...bytes, references: [reference], mountedMs: startedMs, mounts: 0, errors: 0, pulling: true };
}
