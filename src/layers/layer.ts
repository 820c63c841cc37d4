import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChunkTable } from '../erofs/disk-plan.ts';
import { type LazypullError, messageOf } from '../errors.ts';
import { neededLibraries } from '../formats/elf.ts';
import { type FlatFile, rangesIn } from '../fuse/flat-file.ts';
import type { FuseServer } from '../fuse/server.ts';
import type { Log } from '../log.ts';
import type { Blob } from '../registry/blob.ts';
import { FailureLog } from './failure-log.ts';
import { Fetcher } from './fetcher.ts';
import { fileOf, type LayerDirectory, type LayerRecord, type WrittenResidency } from './layer-directory.ts';
import type { LayerStatus } from './layer-status.ts';
import type { Link } from './link.ts';
import type { LayerMetrics } from './metrics.ts';
import { residency } from './residency.ts';
import { rowsOfTrace, type TraceStore, traceOf } from './trace.ts';
import type { Stacking } from './stacking.ts';
import type { UnpackPool } from './unpack-pool.ts';
import type { Unwritten } from './unwritten.ts';

/** How long fetched bytes may go without being known to be on the disk: what is lost when the machine loses power. */
const syncIntervalMs = 2000;

/** The most that is fetched at once because it is likely to be needed, in blob bytes. */
const maxGuessBytes = 8 << 20;

/** How long after the first read that had to wait a trace is taken, and what it may come to in blob bytes. */
const traceMs = 10_000;
const maxTraceBytes = 256 << 20;

/** A line in so long says that the disk does not take what is written to it. */
const unwritablePauseMs = 30_000;

export interface LayerOptions extends WrittenResidency {
  readonly record: LayerRecord;
  readonly directory: LayerDirectory;
  readonly table: ChunkTable;
  readonly blob: Blob;
  readonly fuse: FuseServer;
  readonly pool: UnpackPool;
  readonly link: Link;
  readonly unwritten: Unwritten;
  readonly traces: TraceStore;
  /** Called when the layer takes more of the disk, or could not. */
  readonly onGrowth: () => void;
  readonly metrics: LayerMetrics;
  readonly log: Log;
}

/** A layer whose index is here and whose data comes when it is read. Served as one file of the FUSE server. */
export class Layer {
  readonly record: LayerRecord;
  readonly name: string;
  readonly #options: LayerOptions;
  readonly #fetcher: Fetcher;
  readonly #failures: FailureLog;
  readonly #disk: FileHandle;
  readonly #target: number;
  readonly #file: FlatFile;
  readonly #syncTimer: NodeJS.Timeout;
  #syncing: Promise<void> | undefined;
  #keeping: Promise<void> | undefined;
  #lastMissMs = performance.now();
  #waiting = 0;
  #errors = 0;
  #recording = false;
  #traceTimer: NodeJS.Timeout | undefined;
  #dirty: boolean;
  /** Whether the disk failed to keep what was written to it, the last time that it was asked to. */
  #diskFails = false;
  /** When it was last said that the disk does not take what is written to it. */
  #unwritableMs = Number.NEGATIVE_INFINITY;

  static async open(options: LayerOptions): Promise<Layer> {
    const disk = await open(options.directory.diskPath, 'r+');
    try {
      const layer = new Layer(options, disk);
      layer.#serve();
      void options.directory.touch().catch(() => undefined); // a wrong time is only a wrong guess
      return layer;
    } catch (error) {
      await disk.close();
      throw error;
    }
  }

  private constructor(options: LayerOptions, disk: FileHandle) {
    const { record, directory, table, resident, blob, pool, link, unwritten } = options;
    this.#dirty = !options.isOfThisBoot;
    this.#options = options;
    this.record = record;
    this.#disk = disk;
    const { name, nodeId } = fileOf(record);
    this.name = name;
    this.#file = {
      nodeId,
      name: this.name,
      bytes: record.diskBytes,
      path: directory.diskPath,
      rangeOffset: table.diskOffset,
      rangeBytes: table.size,
      resident,
      read: new Uint8Array(new SharedArrayBuffer(table.length)),
    };
    this.#failures = new FailureLog({
      layer: record.digest,
      log: options.log,
      pathsAt: (diskOffsets) => directory.pathsAt(diskOffsets),
    });
    this.#target = pool.add({ diskPath: directory.diskPath, table, resident });
    this.#fetcher = new Fetcher({
      table,
      resident,
      blob,
      pool,
      link,
      unwritten,
      metrics: options.metrics,
      target: this.#target,
      onError: (error, row, isAwaited) => this.#failures.add(table.diskOffset[row]!, error, isAwaited),
      onDamage: (rows) => void this.#noteDamage(rows),
      onUnwritable: (error) => this.#noteUnwritable(error),
      onKept: () => {
        this.#dirty = true;
      },
    });
    this.#syncTimer = setInterval(() => void this.sync(), syncIntervalMs);
    this.#syncTimer.unref();
  }

  /** Path of the image to mount: the disk file itself where all of it is here and verified, else the FUSE file that fills it. */
  get imagePath(): string {
    return this.#fetcher.complete ? this.#options.directory.diskPath : join(this.#options.fuse.mountpoint, this.name);
  }

  /** The paths of which a mount shows this layer. */
  get imagePaths(): readonly string[] {
    return [this.#options.directory.diskPath, join(this.#options.fuse.mountpoint, this.name)];
  }

  get nodeId(): number {
    return this.#file.nodeId;
  }

  /** Whether all of the layer is on the disk, and has been verified in this life of the program. */
  get complete(): boolean {
    return this.#fetcher.complete;
  }

  /** Keeps, when the first seconds of reading are over, which parts of the layer were read in them. */
  recordTrace(): void {
    this.#recording = true;
  }

  /** Starts to bring a new layer's files to the disk, so that the next life of the program need not index it again. */
  keep(): void {
    const { directory, record, log } = this.#options;
    this.#keeping = directory.syncRecord(record).catch((error: unknown) => {
      log.warn({ layer: record.digest, error: messageOf(error) }, 'cannot keep the index of a layer');
    });
  }

  /**
   * Asks for what was read the last time that the layer was new here; else for what the publisher or the client marked as needed first;
   * else for what every program of the image is going to read.
   *
   * @param bytes how much of the blob's start the client wants, when the publisher says nothing; 0 for none
   */
  async prefetch(bytes: number): Promise<void> {
    const { directory, traces, table, record } = this.#options;
    const trace = await traces.load(record.digest);
    if (trace !== undefined) {
      this.#fetcher.prefetch(rowsOfTrace(trace, table), maxTraceBytes);
      return;
    }
    const { landmark, start } = await directory.hints(record);
    if (landmark.kind === 'noprefetch') return;
    const upTo = landmark.kind === 'prefetch' ? landmark.offset : bytes;
    if (upTo > 0) this.#fetcher.prefetchUpTo(upTo);
    else this.#fetcher.prefetch(start, maxGuessBytes);
  }

  /** When a reader last had to wait, in `performance.now()` milliseconds; at first when the layer was opened. */
  get lastMissMs(): number {
    return this.#lastMissMs;
  }

  /** What the layer is doing, as far as it knows itself. Looks at every row. */
  status(): Omit<LayerStatus, 'references' | 'mountedMs' | 'mounts'> {
    const { record, table, resident } = this.#options;
    let contentBytes = 0;
    let presentBytes = 0;
    for (let row = 0; row < table.length; row++) {
      contentBytes += table.size[row]!;
      if (resident[row] !== residency.absent) presentBytes += table.size[row]!;
    }
    return {
      digest: record.digest,
      blobBytes: record.blobBytes,
      contentBytes,
      presentBytes,
      fetchedBytes: this.#fetcher.fetchedBytes,
      bytesPerSecond: this.#fetcher.rate.perSecond,
      waiting: this.#waiting,
      errors: this.#errors,
    };
  }

  /** Fetches some of what nobody has read. @returns its bytes; 0 when there is nothing left or nothing can be fetched now */
  async fillSome(): Promise<number> {
    if (this.#diskFails) return 0;
    return this.#fetcher.fillSome();
  }

  /** Verifies some of what is on the disk from an earlier life. @returns its bytes; 0 when there is nothing left */
  verifySome(): Promise<number> {
    return this.#fetcher.verifySome();
  }

  /** Verifies all that is on the disk. @returns how many parts there were, and how many were damaged: those are fetched again */
  async verify(): Promise<{ parts: number; damaged: number }> {
    const { rows, damaged } = await this.#fetcher.verifyAll();
    return { parts: rows, damaged };
  }

  /** What matters of the layer to those above and below it. */
  stacking(): Promise<Stacking> {
    return this.#options.directory.stacking(this.record);
  }

  /** Keeps what whole chunks the bytes hold, which are the blob's from `start` on. */
  async offer(bytes: Uint8Array, start: number): Promise<void> {
    await this.#fetcher.offer(bytes, start);
  }

  /** Writes the residency down after the data that it speaks of. Never rejects: what cannot be written is fetched again in the next life. */
  async sync(): Promise<void> {
    await this.#syncing; // which may have looked before the last parts came
    if (!this.#dirty) return;
    this.#syncing ??= this.#sync().finally(() => {
      this.#syncing = undefined;
    });
    await this.#syncing;
  }

  /** Ends requests and releases descriptors. What mounts the FUSE file reads EIO where data is missing. */
  async close(): Promise<void> {
    clearInterval(this.#syncTimer);
    if (this.#traceTimer !== undefined) await this.#saveTrace();
    await this.#fetcher.close();
    await this.#failures.close();
    this.#options.fuse.remove(this.#file.nodeId);
    this.#options.pool.remove(this.#target);
    await this.#keeping;
    await this.sync();
    await this.#options.directory.touch().catch(() => undefined);
    await this.#disk.close();
  }

  #serve(): void {
    const { fuse, table } = this.#options;
    fuse.add(this.#file, async (offset, size) => {
      this.#lastMissMs = performance.now();
      if (this.#recording) this.#traceSoon();
      const { first, last } = rangesIn(this.#file, offset, size);
      this.#waiting++;
      try {
        const unwritten = await this.#fetcher.fetch(first, last);
        if (offset === table.diskOffset[first]) void this.#prefetchLibraries(offset);
        return unwritten.map(({ row, content }) => ({ offset: table.diskOffset[row]!, content }));
      } catch (error) {
        this.#errors++;
        throw error;
      } finally {
        this.#waiting--;
      }
    });
  }

  #traceSoon(): void {
    this.#recording = false;
    this.#traceTimer = setTimeout(() => void this.#saveTrace(), traceMs);
    this.#traceTimer.unref();
  }

  async #saveTrace(): Promise<void> {
    clearTimeout(this.#traceTimer);
    this.#traceTimer = undefined;
    const { traces, table, record, log } = this.#options;
    const trace = traceOf(record.digest, table, this.#file.read);
    const bytes = trace.ranges.reduce((sum, [start, end]) => sum + end - start, 0);
    // Who read most of the layer is served best by reading it in order.
    if (bytes > Math.min(maxTraceBytes, record.blobBytes / 2)) return;
    try {
      await traces.save(trace);
    } catch (error) {
      log.warn({ layer: record.digest, error: messageOf(error) }, 'cannot keep the trace of a layer');
    }
  }

  /** When a program is read for the first time, its libraries are next: they are asked for while the kernel still loads the program. */
  async #prefetchLibraries(diskOffset: number): Promise<void> {
    try {
      const names = await neededLibraries(async (offset, size) => {
        const { first, last } = rangesIn(this.#file, diskOffset + offset, size);
        await this.#fetcher.fetch(first, last);
        const { buffer, bytesRead } = await this.#disk.read(Buffer.alloc(size), 0, size, diskOffset + offset);
        return buffer.subarray(0, bytesRead);
      });
      if (names.length > 0) {
        this.#fetcher.prefetch(await this.#options.directory.rowsOfLibraries(this.record, names), maxGuessBytes);
      }
    } catch {
      // A guess that fails costs nothing: the reader that needs the bytes gets the error.
    }
  }

  #noteUnwritable(error: LazypullError): void {
    const { record, log, metrics, onGrowth } = this.#options;
    metrics.unwritten.add(1);
    onGrowth();
    const now = performance.now();
    if (now - this.#unwritableMs < unwritablePauseMs) return;
    this.#unwritableMs = now;
    log.warn(
      { layer: record.digest, error: messageOf(error) },
      'the disk does not take parts of a layer: they are served from memory, and fetched each time that they are read',
    );
  }

  async #noteDamage(rows: readonly number[]): Promise<void> {
    const { directory, record, table, log, metrics } = this.#options;
    metrics.damaged.add(rows.length);
    this.#dirty = true;
    const [file] = await directory.pathsAt([table.diskOffset[rows[0]!]!]).catch(() => ['']);
    log.error(
      { layer: record.digest, file, parts: rows.length },
      'parts of a layer are damaged on the disk, and are fetched again when they are read',
    );
  }

  async #sync(): Promise<void> {
    const { directory, resident, log, record } = this.#options;
    this.#dirty = false;
    try {
      const seen = Uint8Array.from(resident);
      await this.#disk.datasync().catch((error: unknown) => this.#forgetUnsynced(error));
      await directory.writeResident(record, seen);
      this.#options.onGrowth();
      if (this.#diskFails) log.info({ layer: record.digest }, 'the disk keeps what is written of the layer again');
      this.#diskFails = false;
    } catch (error) {
      this.#dirty = true;
      if (this.#diskFails) return;
      this.#diskFails = true;
      log.warn({ layer: record.digest, error: messageOf(error) }, 'cannot write down which parts of a layer are here');
    }
  }

  /**
   * What has been written since the last sync that went well may be lost: the kernel tells that once, and then forgets those pages. So it
   * counts as absent. Rejects with the error.
   */
  async #forgetUnsynced(error: unknown): Promise<never> {
    const { directory, resident, record } = this.#options;
    const { resident: kept } = await directory.resident(record);
    for (let row = 0; row < resident.length; row++) {
      if (kept[row] === residency.absent) Atomics.store(resident, row, residency.absent);
    }
    throw error;
  }
}
