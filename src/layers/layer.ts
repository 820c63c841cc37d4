import type { FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { ChunkTable } from '../chunks/chunk-table.ts';
import type { FileSystem } from '../fronts/front.ts';
import { LazypullError, messageOf } from '../errors.ts';
import type { Piece } from '../fuse/fuse-server.ts';
import { openForLong } from '../kernel/open-files.ts';
import { helperRoot } from '../kernel/mount-helper.ts';
import { FailureLog } from './failure-log.ts';
import { ResidencyWriter } from './store/residency-writer.ts';
import { fileOf, type LayerRecord } from './store/layer-directory.ts';
import type { LayerOptions } from './layer-options.ts';
import { LayerReader, maxGuessBytes } from './layer-reader.ts';
import type { LayerOrigin } from './layer-origin.ts';
import type { LayerStatus } from './layer-status.ts';
import { fetchedBytesOf, type LayerActivity, nothingFetched, sumOfFetched } from './uses/layer-use.ts';
import { type ContentActivity, contentActivity } from './uses/read-strip.ts';
import { LayerWaits } from './uses/layer-waits.ts';

import { countBytes, residency } from '../chunks/residency.ts';
import { chunksOfTrace, type Trace } from './prefetch/trace.ts';
import { maxTraceBytes, TraceRecorder } from './prefetch/trace-recorder.ts';
import type { Stacking } from './plan/stacking.ts';

/**
 * If no more than this is missing of a layer, in blob bytes, it is fetched whole at once: it takes no longer than the
 * round trip of the first miss.
 */
const maxLittleBytes = 1 << 20;

/** How long after a layer was indexed its files are synced: a new build needs the disk itself. */
const keepAfterMs = 10_000;

/** A layer whose index is here and whose data comes when it is read. The FUSE server serves it as one file. */
export class Layer {
  readonly record: LayerRecord;
  readonly origin: LayerOrigin;
  /** In milliseconds since 1970. */
  readonly openedMs = Date.now();
  /** What mounts it. */
  readonly fileSystem: FileSystem;
  readonly name: string;
  readonly nodeId: number;
  readonly #options: Omit<LayerOptions, 'table' | 'codecData'>;
  readonly #failures: FailureLog;
  readonly #disk: FileHandle;
  readonly #kept: ResidencyWriter;
  readonly #trace: TraceRecorder;
  readonly #waits: LayerWaits;
  /** The chunks that have been read, and when they first were, as the FUSE server notes it. */
  readonly #read: Uint8Array;
  #reader: LayerReader | undefined;
  #waking: Promise<LayerReader> | undefined;
  #closed = false;
  #keepTimer: NodeJS.Timeout | undefined;
  #keeping: Promise<void> | undefined;
  #lastMissMs = performance.now();
  #errors = 0;
  /** Blob bytes that closed readers have fetched. */
  #fetched = nothingFetched;
  /** What `#contentOf` gives while the layer is idle. */
  #restingContent: ContentActivity | undefined;
  /** Whether it was told that the blob and the index contradict each other, and whether the index is given up. */
  #isTold = false;
  #refused = false;
  /** A chunk that was not verified at the last look at `complete`; -1 if all were. */
  #missingChunk = -1;

  static async open(options: LayerOptions): Promise<Layer> {
    const disk = await openForLong(options.directory.diskPath);
    try {
      const layer = new Layer(options, disk);
      void options.directory.touch().catch(() => undefined); // a wrong time is only a wrong guess
      return layer;
    } catch (error) {
      await disk.close();
      throw error;
    }
  }

  private constructor({ table, codecData, ...options }: LayerOptions, disk: FileHandle) {
    const { record, directory } = options;
    this.#options = options;
    this.#waits = new LayerWaits(options);
    ({ record: this.record, origin: this.origin } = options);
    this.fileSystem = options.front.fileSystem;
    this.#disk = disk;
    this.#read = new Uint8Array(new SharedArrayBuffer(record.chunks));
    ({ name: this.name, nodeId: this.nodeId } = fileOf(record));
    this.#failures = new FailureLog({
      layer: record.digest,
      log: options.log,
      pathsAt: (diskOffsets) => directory.pathsAt(diskOffsets),
    });
    this.#trace = new TraceRecorder({
      ...options,
      bytesNeeded: options.format.codec.bytesNeeded,
      read: this.#read,
      table: async () => this.#reader?.table ?? directory.table(record),
    });
    this.#kept = new ResidencyWriter({ ...options, disk, onKept: options.onGrowth }, options.isOfThisBoot);
    if (table === undefined) this.#serveResting();
    else this.#serve(table, codecData);
  }

  /** Path of the image to mount: the disk file if it is complete, verified and synced, else the FUSE file. */
  get imagePath(): string {
    return this.complete && this.#kept.isSynced
      ? this.#options.directory.diskPath
      : join(helperRoot, this.#options.fuse.nameOf(this.name));
  }

  /** Whether a mount of this source shows the layer through the present connection. */
  isShownBy(source: string): boolean {
    return source === this.#options.directory.diskPath || basename(source) === this.#options.fuse.nameOf(this.name);
  }

  /** Whether a mount of this source needs a daemon. */
  isServedAs(source: string): boolean {
    return source !== this.#options.directory.diskPath;
  }

  /** Whether the whole layer is on the disk, and has been verified in this life of the program. */
  get complete(): boolean {
    const { resident } = this.#options;
    if (this.#missingChunk >= 0 && Atomics.load(resident, this.#missingChunk) !== residency.verified) return false;
    this.#missingChunk = resident.findIndex((state) => state !== residency.verified);
    return this.#missingChunk < 0;
  }

  /** After the first seconds of reading, stores which parts of the layer were read in them. */
  recordTrace(): void {
    this.#trace.start();
  }

  /** Syncs a new layer's files to the disk soon, so that it need not be indexed again after a power cut. */
  keep(): void {
    if (this.#refused) return;
    this.#keepTimer = setTimeout(() => this.#keepNow(), keepAfterMs).unref();
  }

  #keepNow(): void {
    const { directory, record, log } = this.#options;
    clearTimeout(this.#keepTimer);
    this.#keepTimer = undefined;
    this.#keeping = directory.syncRecord(record).catch((error: unknown) => {
      log.warn({ layer: record.digest, error: messageOf(error) }, 'cannot keep the index of a layer');
    });
  }

  /**
   * Requests what was read when the layer was last new here; else what the publisher or the client marked as needed
   * first; else the whole layer if little is missing, or what every program of the image reads.
   *
   * @param trace what was read then; undefined if it is not known
   * @param bytes how much of the blob's start the client wants if the publisher says nothing; 0 for none
   * @param missing how much of the blob's start is not here yet
   */
  async prefetch(trace: Trace | undefined, bytes: number, missing: number): Promise<void> {
    const { link } = this.#options;
    const reader = await this.#wake();
    const { fetcher, table } = reader;
    const hinting = reader.hints();
    hinting.catch(() => undefined);
    if (trace !== undefined) {
      fetcher.prefetch(chunksOfTrace(trace, table), maxTraceBytes);
      return;
    }
    const { landmark, start } = await hinting;
    if (landmark.kind === 'noprefetch') return;
    const little = missing <= Math.min(link.bytesPerRoundTrip, maxLittleBytes) ? missing : 0;
    const upTo = Math.max(landmark.kind === 'prefetch' ? landmark.offset : bytes, little);
    if (upTo > 0) fetcher.prefetchUpTo(upTo);
    else fetcher.prefetch(start, maxGuessBytes);
  }

  /** When a reader last had to wait, in `performance.now()` milliseconds; initially when the layer was opened. */
  get lastMissMs(): number {
    return this.#lastMissMs;
  }

  /** The state of the layer, as far as it knows. Looks at every chunk, and reads a file if the layer is idle. */
  async status(): Promise<Omit<LayerStatus, 'references' | 'mountedMs' | 'mounts' | 'pulling'>> {
    const { record, resident, directory } = this.#options;
    return {
      digest: record.digest,
      blobBytes: record.blobBytes,
      ...countBytes((this.#reader?.table ?? (await directory.table(record))).size, resident),
      fetchedBytes: fetchedBytesOf({ fetched: this.#fetchedSoFar() }),
      bytesPerSecond: this.#reader?.fetcher.rate.perSecond ?? 0,
      waiting: this.#waits.waiting,
      errors: this.#errors,
    };
  }

  /** What it did since it was opened. Looks at every chunk, and may read a file once if the layer is idle. */
  async activity(): Promise<LayerActivity> {
    const { record, directory, indexBytes = 0 } = this.#options;
    const pull = this.origin.how === 'pull' ? record.blobBytes : 0;
    const fetched = { ...this.#fetchedSoFar(), index: indexBytes, pull };
    const { waits, waitedMs, longestMs: longestWaitMs } = this.#waits;
    const content = this.#restingContent ?? this.#contentOf(this.#reader?.table ?? (await directory.table(record)));
    if (this.#reader === undefined) this.#restingContent = content;
    return { ...content, fetched, waits, waitedMs, longestWaitMs, errors: this.#errors };
  }

  #fetchedSoFar(): LayerActivity['fetched'] {
    return sumOfFetched(this.#fetched, this.#reader?.fetcher.fetched ?? nothingFetched);
  }

  #contentOf(table: ChunkTable): ContentActivity {
    return contentActivity(table, this.#read, this.#options.resident);
  }

  /** Fetches some unread data. @returns its bytes; 0 if there is nothing left or nothing can be fetched now */
  async fillSome(): Promise<number> {
    return this.#kept.diskFails ? 0 : (await this.#wake()).fetcher.fillSome();
  }

  /** Verifies some data on the disk from an earlier life. @returns its bytes; 0 if there is nothing left */
  async verifySome(): Promise<number> {
    const isDone = !this.#options.resident.includes(residency.unverified);
    return isDone ? 0 : (await this.#wake()).fetcher.verifySome();
  }

  /** Verifies everything on the disk. @returns the number of parts, and of damaged ones: they are fetched again */
  async verify(): Promise<{ parts: number; damaged: number }> {
    const { chunks, damaged } = await (await this.#wake()).fetcher.verifyAll();
    return { parts: chunks, damaged };
  }

  /** Releases the memory that only readers need; the next read takes it again. @returns false if it is being read */
  rest(): boolean {
    const reader = this.#reader;
    if (reader === undefined || this.#waits.waiting > 0 || !reader.fetcher.isIdle) return false;
    this.#fetched = this.#fetchedSoFar();
    this.#restingContent = this.#contentOf(reader.table);
    this.#reader = undefined;
    this.#serveResting();
    void reader.close(); // it has nothing under way
    return true;
  }

  /** What matters about the layer to those above and below it. */
  stacking(): Promise<Stacking> {
    return this.#options.directory.stacking(this.record);
  }

  /** Keeps the complete chunks in bytes of the blob from `start` on. */
  async offer(bytes: Uint8Array, start: number): Promise<void> {
    await (await this.#wake()).fetcher.offer(bytes, start);
  }

  /** Writes the residency after its data. Never rejects: what cannot be written is fetched again in the next life. */
  async sync(): Promise<void> {
    if (this.#keepTimer !== undefined) this.#keepNow();
    await this.#keeping;
    await this.#kept.sync();
  }

  /** Ends requests and releases descriptors. Readers of the FUSE file get EIO for missing data. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#options.awake.remove(this);
    await this.#waking?.catch(() => undefined);
    await this.#trace.close();
    await this.#reader?.close();
    await this.#failures.close();
    this.#options.fuse.remove(this.nodeId);
    if (this.#keepTimer !== undefined) this.#keepNow();
    await this.#keeping;
    await this.#kept.close();
    await this.#options.directory.touch().catch(() => undefined);
    await this.#disk.close();
  }

  #serve(table: ChunkTable, codecData: SharedArrayBuffer | undefined): LayerReader {
    const { fuse, awake } = this.#options;
    const reader = new LayerReader(table, {
      ...this.#options,
      codecData,
      read: this.#read,
      openedMs: this.openedMs,
      disk: this.#disk,
      onError: (error, chunk, isAwaited) => {
        this.#failures.add(table.diskOffset[chunk]!, error, isAwaited);
        if (error.code === 'DataLoss' && isAwaited) void this.#refuse(error);
      },
      onDamage: (chunks) => void this.#noteDamage(chunks.length, table.diskOffset[chunks[0]!]!),
      onUnwritable: (error) => this.#noteUnwritable(error),
      onKept: () => this.#kept.change(),
    });
    this.#reader = reader;
    this.#restingContent = undefined;
    fuse.add(
      reader.file,
      (offset, size) => this.#fetch(offset, size),
      () => this.#kept.lose(),
    );
    awake.add(this, reader.memoryBytes);
    return reader;
  }

  #serveResting(): void {
    const { fuse, record, directory } = this.#options;
    const { name, nodeId } = this;
    const file = { name, nodeId, bytes: record.diskBytes, path: directory.diskPath, dataOffset: record.metadataBytes };
    fuse.rest(
      file,
      async () => void (await this.#wake()),
      () => this.#kept.lose(),
    );
  }

  async #fetch(offset: number, size: number): Promise<readonly Piece[]> {
    const startedMs = performance.now();
    this.#lastMissMs = startedMs;
    this.#trace.noteMiss();
    this.#waits.begin(startedMs); // from now on it does not become idle
    try {
      const reader = await this.#wake();
      if (this.#kept.lossKnown !== undefined) await this.#checkLoss(offset);
      return await reader.read(offset, size);
    } catch (error) {
      this.#errors++;
      throw error;
    } finally {
      this.#waits.endRead(startedMs, offset, size);
    }
  }

  /** The reader of the layer, made if there is none. Rejects if the layer's files are damaged, and logs that. */
  #wake(): Promise<LayerReader> {
    if (this.#reader !== undefined) return Promise.resolve(this.#reader);
    this.#waking ??= this.#readTable().finally(() => {
      this.#waking = undefined;
    });
    return this.#waking;
  }

  async #readTable(): Promise<LayerReader> {
    const { directory, record, log } = this.#options;
    this.#lastMissMs = performance.now();
    try {
      const table = await directory.table(record);
      const codecData = await directory.codecData(record);
      if (this.#closed) throw new LazypullError('Canceled', 'The layer was closed');
      return this.#serve(table, codecData);
    } catch (error) {
      const message =
        'cannot read the index of a layer: its readers get EIO; stop lazypull, and remove the directory of the layer';
      if (!this.#closed) log.error({ layer: record.digest, path: directory.path, error: messageOf(error) }, message);
      throw error;
    }
  }

  #noteUnwritable(error: LazypullError): void {
    this.#options.metrics.unwritten.add(1);
    this.#options.onGrowth();
    this.#failures.unwritable(error);
  }

  /** All servers contradict the index: readers get EIO for wrong data. The index is given up if it is to blame. */
  async #refuse(error: LazypullError): Promise<void> {
    const { onWrong, directory, log, record } = this.#options;
    if (onWrong === undefined || this.#isTold) return;
    this.#isTold = true;
    if (!(await onWrong(error))) return;
    this.#refused = true;
    clearTimeout(this.#keepTimer);
    this.#keepTimer = undefined;
    await this.#keeping;
    await directory.forget().catch((cause: unknown) => {
      log.warn({ layer: record.digest, error: messageOf(cause) }, 'cannot forget a layer whose index is wrong');
    });
  }

  /** Waits until lost data counts as absent. Rejects if bytes at `offset` are metadata that has changed. */
  async #checkLoss(offset: number): Promise<void> {
    const { directory, record } = this.#options;
    await this.#kept.lossKnown;
    if (offset >= record.metadataBytes) return;
    try {
      await directory.checkDisk(record, true);
    } catch (error) {
      this.#failures.add(offset, error instanceof Error ? error : new Error(messageOf(error)), true);
      throw error;
    }
  }

  async #noteDamage(parts: number, diskOffset: number): Promise<void> {
    const { directory, record, log, metrics } = this.#options;
    metrics.damaged.add(parts);
    this.#kept.change();
    const [file] = await directory.pathsAt([diskOffset]).catch(() => ['']);
    const about = { layer: record.digest, file, parts };
    log.error(about, 'parts of a layer are damaged on the disk, and are fetched again when they are read');
  }
}
