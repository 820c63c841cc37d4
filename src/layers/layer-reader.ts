import type { FileHandle } from 'node:fs/promises';
import type { ChunkTable } from '../erofs/disk-plan.ts';
import type { LazypullError } from '../errors.ts';
import { neededLibraries } from '../formats/elf.ts';
import { type FlatFile, rangesIn } from '../fuse/flat-file.ts';
import type { Piece } from '../fuse/server.ts';
import { Fetcher, type FetcherOptions } from './fetcher.ts';
import { fileOf, type LayerDirectory, type LayerRecord } from './layer-directory.ts';
import type { LayerThreads } from './layer-threads.ts';

/** The most that is fetched at once because it is likely to be needed, in blob bytes. */
export const maxGuessBytes = 8 << 20;

export interface LayerReaderOptions
  extends Pick<FetcherOptions, 'resident' | 'blob' | 'link' | 'unwritten' | 'metrics' | 'onUnwritable' | 'onKept'> {
  readonly record: LayerRecord;
  readonly directory: LayerDirectory;
  readonly disk: FileHandle;
  readonly threads: LayerThreads;
  /** As the fetcher's, with the disk offset of the row. */
  readonly onError: (error: LazypullError, diskOffset: number, isAwaited: boolean) => void;
  /** As the fetcher's, with how many rows there are and the disk offset of the first. */
  readonly onDamage: (rows: number, diskOffset: number) => void;
}

/** Serves the reads of a layer. It holds the layer's chunk table, megabytes for tens of thousands of files, so it is there only while somebody reads. */
export class LayerReader {
  readonly table: ChunkTable;
  readonly file: FlatFile;
  readonly fetcher: Fetcher;
  readonly #options: LayerReaderOptions;
  readonly #target: number;

  constructor(table: ChunkTable, options: LayerReaderOptions) {
    const { record, directory, resident, threads, onError, onDamage } = options;
    this.#options = options;
    this.table = table;
    this.file = {
      ...fileOf(record),
      bytes: record.diskBytes,
      path: directory.diskPath,
      rangeOffset: table.diskOffset,
      rangeBytes: table.size,
      resident,
      read: new Uint8Array(new SharedArrayBuffer(table.length)),
    };
    this.#target = threads.add({ diskPath: directory.diskPath, table, resident });
    this.fetcher = new Fetcher({
      ...options,
      table,
      target: this.#target,
      onError: (error, row, isAwaited) => onError(error, table.diskOffset[row]!, isAwaited),
      onDamage: (rows) => onDamage(rows.length, table.diskOffset[rows[0]!]!),
    });
  }

  /** Bytes that the table and what belongs to it take in memory. */
  get memoryBytes(): number {
    const { digest, length } = this.table;
    return digest.buffer.byteLength + 2 * length;
  }

  /** Makes bytes [offset, offset + size) of the disk resident, but for the pieces that it resolves to. Rejects with the reason when one of them cannot be had. */
  async read(offset: number, size: number): Promise<readonly Piece[]> {
    const { diskOffset } = this.table;
    const { first, last } = rangesIn(this.file, offset, size);
    const unwritten = await this.fetcher.fetch(first, last);
    if (offset === diskOffset[first]) void this.#prefetchLibraries(offset);
    return unwritten.map(({ row, content }) => ({ offset: diskOffset[row]!, content }));
  }

  /** Ends requests, whose readers get EIO, and what threads keep for the layer. */
  async close(): Promise<void> {
    await this.fetcher.close();
    this.#options.threads.remove(this.#target);
  }

  /** When a program is read for the first time, its libraries are next: they are asked for while the kernel still loads the program. */
  async #prefetchLibraries(diskOffset: number): Promise<void> {
    const { directory, record, disk } = this.#options;
    try {
      const names = await neededLibraries(async (offset, size) => {
        const { first, last } = rangesIn(this.file, diskOffset + offset, size);
        await this.fetcher.fetch(first, last);
        const { buffer, bytesRead } = await disk.read(Buffer.alloc(size), 0, size, diskOffset + offset);
        return buffer.subarray(0, bytesRead);
      });
      if (names.length > 0) this.fetcher.prefetch(await directory.rowsOfLibraries(record, names), maxGuessBytes);
    } catch {
      // A guess that fails costs nothing: the reader that needs the bytes gets the error.
    }
  }
}
