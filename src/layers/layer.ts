import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChunkTable } from '../erofs/disk-plan.ts';
import { messageOf } from '../errors.ts';
import { neededLibraries } from '../formats/elf.ts';
import { type FlatFile, rangesIn } from '../fuse/flat-file.ts';
import type { FuseServer } from '../fuse/server.ts';
import type { Log } from '../log.ts';
import type { Blob } from '../registry/blob.ts';
import { FailureLog } from './failure-log.ts';
import { Fetcher } from './fetcher.ts';
import type { LayerDirectory, LayerRecord } from './layer-directory.ts';
import type { Link } from './link.ts';
import type { UnpackPool } from './unpack-pool.ts';

/** How long fetched bytes may go without being known to be on the disk: what is lost when the machine loses power. */
const syncIntervalMs = 2000;

export interface LayerOptions {
  readonly record: LayerRecord;
  readonly directory: LayerDirectory;
  readonly table: ChunkTable;
  readonly resident: Uint8Array;
  readonly blob: Blob;
  readonly fuse: FuseServer;
  readonly pool: UnpackPool;
  readonly link: Link;
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
  #dirty = false;

  static async open(options: LayerOptions): Promise<Layer> {
    const disk = await open(options.directory.diskPath, 'r+');
    try {
      const layer = new Layer(options, disk);
      layer.#serve();
      return layer;
    } catch (error) {
      await disk.close();
      throw error;
    }
  }

  private constructor(options: LayerOptions, disk: FileHandle) {
    const { record, directory, table, resident, blob, pool, link } = options;
    this.#options = options;
    this.record = record;
    this.#disk = disk;
    const key = createHash('sha256').update(`${record.digest}\n${record.tocDigest}`).digest();
    this.name = key.toString('hex').slice(0, 32);
    this.#file = {
      nodeId: key.readUIntBE(0, 6) + 2,
      name: this.name,
      bytes: record.diskBytes,
      path: directory.diskPath,
      rangeOffset: table.diskOffset,
      rangeBytes: table.size,
      resident,
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
      target: this.#target,
      onError: (error, row, isAwaited) => this.#failures.add(table.diskOffset[row]!, error, isAwaited),
    });
    this.#syncTimer = setInterval(() => void this.sync(), syncIntervalMs);
    this.#syncTimer.unref();
  }

  /** Path of the image to mount: the disk file itself where all of it is here, else the FUSE file that fills it. */
  get imagePath(): string {
    return this.#fetcher.complete ? this.#options.directory.diskPath : join(this.#options.fuse.mountpoint, this.name);
  }

  /** Whether all of the layer is on the disk. */
  get complete(): boolean {
    return this.#fetcher.complete;
  }

  /** Starts to bring a new layer's files to the disk, so that the next life of the program need not index it again. */
  keep(): void {
    const { directory, record, log } = this.#options;
    this.#keeping = directory.writeRecord(record).catch((error: unknown) => {
      log.warn({ layer: record.digest, error: messageOf(error) }, 'cannot keep the index of a layer');
    });
  }

  /**
   * Asks for what the publisher or the client marked as needed first, else for what every program of the image is going to read.
   *
   * @param bytes how much of the blob's start the client wants, when the publisher says nothing; 0 for none
   */
  async prefetch(bytes: number): Promise<void> {
    const { landmark, start } = await this.#options.directory.hints();
    if (landmark.kind === 'noprefetch') return;
    const upTo = landmark.kind === 'prefetch' ? landmark.offset : bytes;
    if (upTo > 0) this.#fetcher.prefetchUpTo(upTo);
    else this.#fetcher.prefetch(start);
  }

  /** When a reader last had to wait, in `performance.now()` milliseconds; at first when the layer was opened. */
  get lastMissMs(): number {
    return this.#lastMissMs;
  }

  /** Fetches some of what nobody has read. @returns its bytes; 0 when there is nothing left or nothing can be fetched now */
  async fillSome(): Promise<number> {
    this.#dirty = true;
    return this.#fetcher.fillSome();
  }

  /** Keeps what whole chunks the bytes hold, which are the blob's from `start` on. */
  async offer(bytes: Uint8Array, start: number): Promise<void> {
    this.#dirty = true;
    await this.#fetcher.offer(bytes, start);
  }

  /** Writes the residency down after the data that it speaks of. Never rejects: what cannot be written is fetched again in the next life. */
  async sync(): Promise<void> {
    if (!this.#dirty) return;
    this.#syncing ??= this.#sync().finally(() => {
      this.#syncing = undefined;
    });
    await this.#syncing;
  }

  /** Ends requests and releases descriptors. What mounts the FUSE file reads EIO where data is missing. */
  async close(): Promise<void> {
    clearInterval(this.#syncTimer);
    await this.#fetcher.close();
    await this.#failures.close();
    this.#options.fuse.remove(this.#file.nodeId);
    this.#options.pool.remove(this.#target);
    await this.#keeping;
    await this.sync();
    await this.#disk.close();
  }

  #serve(): void {
    const { fuse, table } = this.#options;
    fuse.add(this.#file, async (offset, size) => {
      this.#dirty = true;
      this.#lastMissMs = performance.now();
      const { first, last } = rangesIn(this.#file, offset, size);
      await this.#fetcher.fetch(first, last);
      if (offset === table.diskOffset[first]) void this.#prefetchLibraries(offset);
    });
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
      if (names.length > 0) this.#fetcher.prefetch(await this.#options.directory.rowsOfLibraries(names));
    } catch {
      // A guess that fails costs nothing: the reader that needs the bytes gets the error.
    }
  }

  async #sync(): Promise<void> {
    const { directory, resident, log, record } = this.#options;
    this.#dirty = false;
    try {
      const seen = Uint8Array.from(resident);
      await this.#disk.datasync();
      await directory.writeResident(seen);
    } catch (error) {
      this.#dirty = true;
      log.warn({ layer: record.digest, error: messageOf(error) }, 'cannot write down which parts of a layer are here');
    }
  }
}
