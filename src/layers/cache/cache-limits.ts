import type { StatsFs } from 'node:fs';
import { type Amount, bytesOf } from '../../util/amount.ts';

/** How much of the disk the files of layers may take. */
export interface CacheLimits {
  /** The maximum for all layers; 0 bytes for no limit. */
  readonly max: Amount;
  /** What stays free on the file system. */
  readonly minFree: Amount;
  /** Layers are removed if they take more than the first part of `max`, until they take less than the second. */
  readonly highWater: number;
  readonly lowWater: number;
}

/** Half of the file system or 10 GB, whichever is larger, and never its last 2 %. */
export const defaultCacheLimits: CacheLimits = {
  max: { share: 0.5, atLeastBytes: 10e9 },
  minFree: { share: 0.02 },
  highWater: 0.95,
  lowWater: 0.8,
};

/** Bytes, and files that the file system can still hold. `free` and `total` are those of the file system. */
export interface CacheSpace {
  readonly used: number;
  readonly free: number;
  readonly total: number;
  /** Infinity, both, if the file system has no bound on files. */
  readonly freeFiles: number;
  readonly totalFiles: number;
}

/** So many files more must fit into the file system, or this part of all on a small one. */
const minFreeFiles = 1000;
const minFreeFilesShare = 0.1;

/** What there is once `coming` more bytes are written, if `used` are now, by statfs(2). */
export function spaceOf({ bsize, blocks, bavail, files, ffree }: StatsFs, used: number, coming: number): CacheSpace {
  // Btrfs, which has no bound on files, says 0.
  const [freeFiles, totalFiles] = files === 0 ? [Infinity, Infinity] : [ffree, files];
  return { used: used + coming, free: bavail * bsize - coming, total: blocks * bsize, freeFiles, totalFiles };
}

/** Whether the cache may not grow any more. */
export function isFull(limits: CacheLimits, space: CacheSpace): boolean {
  const { used, free, total } = space;
  const isOver = used > maxBytes(limits, total) * limits.highWater;
  return isOver || free < bytesOf(limits.minFree, total) || excessFiles(space) > 0;
}

/** How many bytes should be removed, 0 for none. */
export function excessBytes(limits: CacheLimits, space: CacheSpace): number {
  if (!isFull(limits, space)) return 0;
  const { used, free, total } = space;
  const max = maxBytes(limits, total);
  const over = used > max * limits.highWater ? used - max * limits.lowWater : 0;
  return Math.ceil(Math.max(over, bytesOf(limits.minFree, total) - free));
}

/** How many files should be removed, 0 for none. */
export function excessFiles({ freeFiles, totalFiles }: CacheSpace): number {
  return Math.max(0, Math.ceil(Math.min(minFreeFiles, totalFiles * minFreeFilesShare)) - freeFiles);
}

function maxBytes({ max }: CacheLimits, total: number): number {
  return bytesOf(max, total) || Number.POSITIVE_INFINITY;
}
