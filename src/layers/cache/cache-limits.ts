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

/** All in bytes; `free` and `total` are those of the file system. */
export interface CacheSpace {
  readonly used: number;
  readonly free: number;
  readonly total: number;
}

/** Whether the cache may not grow any more. */
export function isFull(limits: CacheLimits, { used, free, total }: CacheSpace): boolean {
  return used > maxBytes(limits, total) * limits.highWater || free < bytesOf(limits.minFree, total);
}

/** How many bytes should be removed, 0 for none. */
export function excessBytes(limits: CacheLimits, space: CacheSpace): number {
  if (!isFull(limits, space)) return 0;
  const { used, free, total } = space;
  const max = maxBytes(limits, total);
  const over = used > max * limits.highWater ? used - max * limits.lowWater : 0;
  return Math.ceil(Math.max(over, bytesOf(limits.minFree, total) - free));
}

function maxBytes({ max }: CacheLimits, total: number): number {
  return bytesOf(max, total) || Number.POSITIVE_INFINITY;
}
