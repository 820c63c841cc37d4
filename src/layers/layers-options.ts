import type { Formats } from '../formats/index.ts';
import type { FuseMetrics } from '../fuse/metrics.ts';
import type { Descriptor } from '../images/manifest.ts';
import type { Log } from '../log.ts';
import type { Blob } from '../registry/blob/blob.ts';
import type { KeptBeside } from './cache/cache.ts';
import type { CacheLimits } from './cache/cache-limits.ts';
import type { DiskBudget } from './cache/disk-budget.ts';
import type { LayerMetrics } from './metrics.ts';
import type { IndexSource } from './resolve/index-source.ts';
import type { UnindexedPolicy } from './resolve/unindexed.ts';

/** What `Layers` works with. */
export interface LayersOptions {
  /** Directory of the layers' files and of the FUSE mount; made when it is not there. */
  readonly root: string;
  /** Opens a blob of the repository that the reference names. */
  readonly openBlob: (reference: string, digest: string) => Blob;
  /** Whether data is fetched before it is read: `bytes` of the start of layers whose publisher says nothing, 0 for what programs need to start. */
  readonly prefetch: { readonly bytes: number } | undefined;
  /** Whether layers are completed when nobody waits for data, and how fast; `maxBytesPerSecond` undefined for no limit. */
  readonly background: { readonly maxBytesPerSecond: number | undefined } | undefined;
  /** Whether files of layers can be read past the page cache (O_DIRECT): each layer takes a loop device then. */
  readonly directIo?: boolean;
  /** How much of the disk layers may take, once `cache.start` has been called. */
  readonly limits?: CacheLimits;
  /** What those who write to the disk ask, if others do so too. */
  readonly budget?: DiskBudget | undefined;
  /** What else is under these limits. */
  readonly beside?: KeptBeside | undefined;
  /** The limit on the memory of this process; undefined for none. */
  readonly memoryBytes?: number | undefined;
  /** What is done with layers whose manifest names no index. */
  readonly unindexed?: UnindexedPolicy | undefined;
  /** Where their indexes are. */
  readonly indexes?: IndexSource | undefined;
  /** The layers of an image, as its manifest for this machine has them. */
  readonly layersOf?: ((reference: string, signal: AbortSignal) => Promise<readonly Descriptor[]>) | undefined;
  /** Which layers can be read. Undefined for what is built in. */
  readonly formats?: Formats | undefined;
  readonly log: Log;
  readonly metrics?: { readonly layers: LayerMetrics; readonly fuse: FuseMetrics };
}
