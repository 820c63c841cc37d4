import type { ChunkTable } from '../chunks/chunk-table.ts';
import type { Front } from '../fronts/front.ts';
import type { LayerFormat } from '../formats/layer-format.ts';
import type { LazypullError } from '../errors.ts';
import type { FuseServer } from '../fuse/fuse-server.ts';
import type { Log } from '../log.ts';
import type { Blob } from '../registry/blob/blob.ts';
import type { Spans } from '../spans.ts';
import type { TableCache } from './table-cache.ts';
import type { LayerDirectory, LayerRecord, WrittenResidency } from './store/layer-directory.ts';
import type { LayerOrigin } from './layer-origin.ts';
import type { FetchIndexBytes } from './fetch/index-parts.ts';
import type { Link } from './fetch/link.ts';
import type { LayerMetrics } from './metrics.ts';
import type { TraceStore } from './prefetch/trace.ts';
import type { WorkerPool } from './workers/pool.ts';
import type { UnwrittenChunks } from './store/unwritten-chunks.ts';

/** What a layer works with. */
export interface LayerOptions extends WrittenResidency {
  readonly record: LayerRecord;
  readonly directory: LayerDirectory;
  readonly format: LayerFormat;
  readonly front: Front;
  /** Undefined for a layer that is idle until it is read. */
  readonly table: ChunkTable | undefined;
  /** The codec's data besides the table, if it is here. */
  readonly codecData?: SharedArrayBuffer | undefined;
  /** Fetches more of the index file, for codecs that need it. */
  readonly fetchIndex: FetchIndexBytes;
  /**
   * Called if the fetched data contradicts the index.
   *
   * @returns whether the index is given up: the layer is not opened by it again
   */
  readonly onWrong?: ((error: LazypullError) => Promise<boolean>) | undefined;
  readonly blob: Blob;
  /** Bytes of the blob that were fetched before it was opened: those of its index. */
  readonly indexBytes?: number | undefined;
  readonly fuse: FuseServer;
  readonly threads: WorkerPool;
  readonly link: Link;
  readonly unwritten: UnwrittenChunks;
  readonly awake: TableCache;
  readonly traces: TraceStore;
  readonly origin: LayerOrigin;
  /** Called when the layer uses more disk space, or could not. */
  readonly onGrowth: () => void;
  readonly metrics: LayerMetrics;
  readonly log: Log;
  readonly spans?: Spans | undefined;
}
