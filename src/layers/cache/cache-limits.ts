import { type Amount, bytesOf } from '../../util/amount.ts';

/** How much of the disk the files of layers may take. */
export interface CacheLimits {
  /** What all layers may take; 0 bytes for no limit. */
  readonly max: Amount;
  /** What is left free of the file system. */
  readonly minFree: Amount;
  /** The parts of `max` above which layers are removed, and down to which. */
  readonly highWater: number;
  readonly lowWater: number;
}

/** Half of the file system, but 10 GB where that is less, and never its last 2 %. */
export const defaultCacheLimits: CacheLimits = {
  max: { share: 0.5, atLeastBytes: 10e9 },
  minFree: { share: 0.02 },
  highWater: 0.95,
  lowWater: 0.8,
};

/** All in bytes; `free` and `total` are of the file system. */
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
