import type { Formats } from '../formats/index.ts';
import type { Fronts } from '../fronts/index.ts';
import type { FuseMetrics } from '../fuse/metrics.ts';
import type { OpenImageAccess } from '../images/image-access.ts';
import type { Log } from '../log.ts';
import type { Spans } from '../spans.ts';
import type { CacheNeighbour } from './cache/cache-access.ts';
import type { CacheLimits } from './cache/cache-limits.ts';
import type { DiskBudget } from './cache/disk-budget.ts';
import type { LayerMetrics } from './metrics.ts';
import type { IndexSource } from './resolve/index-source.ts';
import type { UnindexedPolicy } from './resolve/unindexed.ts';

/** Options of `Layers`. */
export interface LayersOptions {
  /** Directory of the layers' files and of the FUSE mount; made if it does not exist. */
  readonly root: string;
  /** Gives access to the images that clients name. */
  readonly images: OpenImageAccess;
  /**
   * Whether data is fetched before it is read: `bytes` of the start of layers whose publisher says nothing, 0 for what
   * programs need to start.
   */
  readonly prefetch: { readonly bytes: number } | undefined;
  /** Whether layers are completed while no reader waits, and how fast; `maxBytesPerSecond` undefined for no limit. */
  readonly background: { readonly maxBytesPerSecond: number | undefined } | undefined;
  /** Whether files of layers can be read past the page cache (O_DIRECT): then each layer takes a loop device. */
  readonly directIo?: boolean;
  /** How much of the disk layers may use, after `cache.start`. */
  readonly limits?: CacheLimits;
  /** The budget that writers ask, if layers share it with others. */
  readonly budget?: DiskBudget | undefined;
  /** Other data that counts under these limits. */
  readonly beside?: CacheNeighbour | undefined;
  /** The memory limit of this process; undefined for none. */
  readonly memoryBytes?: number | undefined;
  /** What happens to layers whose manifest names no index. */
  readonly unindexed?: UnindexedPolicy | undefined;
  /** The source of their indexes. */
  readonly indexes?: IndexSource | undefined;
  /** The formats that can be read; undefined for the built-in ones. */
  readonly formats?: Formats | undefined;
  /** How they are shown. Undefined for what is built in. */
  readonly fronts?: Fronts | undefined;
  readonly log: Log;
  readonly spans?: Spans | undefined;
  readonly metrics?: { readonly layers: LayerMetrics; readonly fuse: FuseMetrics };
}
