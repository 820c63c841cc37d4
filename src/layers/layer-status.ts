import type { PullStatus } from './resolve/layer-pulls.ts';

/** What a layer is doing that is mounted, or that is being pulled to be mounted. */
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
  /** Whether all of it is still being pulled: then it was mounted never, `mountedMs` is when that began, and the bytes of its files are those of the blob. */
  readonly pulling?: boolean;
}

/** A layer that is being pulled, as one that is mounted is shown. */
export function statusOfPull({ reference, startedMs, doneBytes, totalBytes, ...pull }: PullStatus): LayerStatus {
  const bytes = { blobBytes: totalBytes, contentBytes: totalBytes, presentBytes: doneBytes, fetchedBytes: doneBytes };
  return { ...pull, ...bytes, references: [reference], mountedMs: startedMs, mounts: 0, errors: 0, pulling: true };
}
