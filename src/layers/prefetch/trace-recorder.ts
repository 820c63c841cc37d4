import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { messageOf } from '../../errors.ts';
import type { BytesNeeded } from '../../formats/layer-format.ts';
import type { Log } from '../../log.ts';
import type { LayerRecord } from '../store/layer-directory.ts';
import { type TraceStore, traceOf } from './trace.ts';

/** How long a trace lasts, from the first read that had to wait. */
const traceMs = 10_000;

/** Maximum blob bytes of a trace. */
export const maxTraceBytes = 256 << 20;

export interface TraceRecorderOptions {
  readonly record: LayerRecord;
  readonly traces: TraceStore;
  readonly bytesNeeded: BytesNeeded;
  /** Not 0 for each chunk of which something has been read. */
  readonly read: Uint8Array;
  readonly table: () => Promise<ChunkTable>;
  readonly log: Log;
}

/** Records which parts of a layer are read in the first seconds of reading, if it is asked to. */
export class TraceRecorder {
  readonly #options: TraceRecorderOptions;
  #isWanted = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: TraceRecorderOptions) {
    this.#options = options;
  }

  /** The next read that waits begins a trace. */
  start(): void {
    this.#isWanted = true;
  }

  /** Notes that a read has to wait. */
  noteMiss(): void {
    if (!this.#isWanted) return;
    this.#isWanted = false;
    this.#timer = setTimeout(() => void this.#save(), traceMs);
    this.#timer.unref();
  }

  /** Stores the reads so far, if a trace has begun. */
  async close(): Promise<void> {
    if (this.#timer !== undefined) await this.#save();
  }

  async #save(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { traces, record, bytesNeeded, read, table, log } = this.#options;
    try {
      const trace = traceOf(record.digest, await table(), bytesNeeded, read);
      const bytes = trace.ranges.reduce((sum, [start, end]) => sum + end - start, 0);
      // If most of the layer was read, reading it in order is best.
      if (bytes <= Math.min(maxTraceBytes, record.blobBytes / 2)) await traces.save(trace);
    } catch (error) {
      log.warn({ layer: record.digest, error: messageOf(error) }, 'cannot keep the trace of a layer');
    }
  }
}
