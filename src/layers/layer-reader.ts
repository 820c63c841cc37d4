import type { FileHandle } from 'node:fs/promises';
import type { ChunkTable } from '../chunks/chunk-table.ts';
import type { LayerFormat } from '../formats/layer-format.ts';
import { loadedBytes, neededLibraries, readElf } from './prefetch/elf.ts';
import { type FlatFile, rangesIn } from '../fuse/flat-file.ts';
import type { Piece } from '../fuse/fuse-server.ts';
import type { ChunkEvents } from './fetch/chunk-events.ts';
import { Fetcher, type FetcherOptions } from './fetch/fetcher.ts';
import { type FetchIndexBytes, IndexParts } from './fetch/index-parts.ts';
import { type CompanionChunks, type Hints, chunksOfLibraries } from './prefetch/layer-hints.ts';
import type { ChunkRange } from '../chunks/chunk-range.ts';
import { fileOf, type LayerDirectory, type LayerRecord } from './store/layer-directory.ts';
import type { WorkerPool } from './workers/pool.ts';

/** Maximum blob bytes of one prefetch. */
export const maxGuessBytes = 8 << 20;

/**
 * How much of a program is fetched at once when it is loaded: the blob bytes that arrive in this time, within bounds.
 */
const programMs = 500;
const minProgramBytes = 1 << 20;
const maxProgramBytes = 16 << 20;

/**
 * If more than this arrives in a round trip, round trips dominate: what a program reads next is requested before its
 * own bytes are here.
 */
const foretoldBytes = 1 << 20;

/** How many programs are examined while a layer is read: each takes a few small reads, once. */
const maxPrograms = 4096;

const nothing: CompanionChunks = { files: [], texts: [] };

export interface LayerReaderOptions
  extends Pick<FetcherOptions, 'resident' | 'read' | 'blob' | 'link' | 'unwritten' | 'metrics' | keyof ChunkEvents> {
  readonly record: LayerRecord;
  /** When the times in `read` begin, in milliseconds since 1970. */
  readonly openedMs: number;
  readonly directory: LayerDirectory;
  readonly format: LayerFormat;
  readonly codecData: SharedArrayBuffer | undefined;
  readonly fetchIndex: FetchIndexBytes;
  readonly disk: FileHandle;
  readonly threads: WorkerPool;
}

/**
 * Serves the reads of a layer. It holds the layer's chunk table, megabytes for tens of thousands of files, so it exists
 * only while the layer is read.
 */
export class LayerReader {
  readonly table: ChunkTable;
  readonly file: FlatFile;
  readonly fetcher: Fetcher;
  readonly #options: LayerReaderOptions;
  readonly #target: number;
  readonly #index: IndexParts;
  /** First chunks of the programs and libraries that were examined. */
  readonly #programs = new Set<number>();
  /** First chunks of the programs whose next reads have been requested. */
  readonly #foretold = new Set<number>();
  #hinting: Promise<Hints> | undefined;
  #hints: Hints | undefined;

  constructor(table: ChunkTable, options: LayerReaderOptions) {
    const { record, directory, format, codecData, resident, read, openedMs, threads } = options;
    this.#options = options;
    this.table = table;
    this.file = {
      ...fileOf(record),
      bytes: record.diskBytes,
      path: directory.diskPath,
      rangeOffset: table.diskOffset,
      rangeBytes: table.size,
      resident,
      read,
      readFromMs: openedMs,
    };
    this.#target = threads.add({
      diskPath: directory.diskPath,
      format: format.name,
      table,
      codecData,
      indexPath: directory.indexPath,
      resident,
    });
    this.#index = new IndexParts(directory.indexPath, options.fetchIndex);
    this.fetcher = new Fetcher({
      ...options,
      table,
      target: this.#target,
      bytesNeeded: format.codec.bytesNeeded,
      needIndex: (chunks) => this.#needIndex(chunks),
    });
  }

  /** Memory of the table and what belongs to it, in bytes. */
  get memoryBytes(): number {
    const { digest, length } = this.table;
    return digest.buffer.byteLength + (this.#options.codecData?.byteLength ?? 0) + 2 * length;
  }

  /**
   * Makes bytes [offset, offset + size) of the image resident, except for the pieces that it resolves to. Rejects with
   * the reason if one of them cannot be fetched.
   */
  async read(offset: number, size: number): Promise<readonly Piece[]> {
    const { diskOffset } = this.table;
    const { first, last } = rangesIn(this.file, offset, size);
    const fetching = this.fetcher.fetch(first, last);
    if (offset === diskOffset[first]) this.#foretell(first);
    const unwritten = await fetching;
    if (offset === diskOffset[first]) void this.#prefetchProgram(first);
    return unwritten.map(({ chunk, content }) => ({ offset: diskOffset[chunk]!, content }));
  }

  /** What is likely to be read next. Rejects with `DataLoss` if the file is damaged. */
  async hints(): Promise<Hints> {
    const { directory, record } = this.#options;
    this.#hints = await (this.#hinting ??= directory.hints(record));
    return this.#hints;
  }

  /** Ends requests, whose readers get EIO, and releases what threads keep for the layer. */
  async close(): Promise<void> {
    const closing = this.fetcher.close();
    await this.#index[Symbol.asyncDispose]();
    await closing;
    this.#options.threads.remove(this.#target);
  }

  async #needIndex(chunks: ChunkRange): Promise<void> {
    const { format, codecData } = this.#options;
    const parts = format.codec.indexParts?.({ table: this.table, chunks, codecData }) ?? [];
    if (parts.length > 0) await this.#index.need(parts);
  }

  /**
   * If the link makes a program's first bytes wait, what the program is known to read next is requested beside them.
   */
  #foretell(program: number): void {
    if (this.#hints === undefined) this.hints().catch(() => undefined); // for the next program
    const companions = this.#hints?.companions ?? {};
    if (!(program in companions) || this.#options.link.bytesPerRoundTrip < foretoldBytes) return;
    const wanted: ChunkRange[] = [];
    const follow = (chunk: number): void => {
      if (this.#foretold.has(chunk)) return;
      this.#foretold.add(chunk);
      const { files, texts } = companions[chunk] ?? nothing;
      wanted.push(...files, ...texts);
      for (const { first } of files) follow(first);
    };
    follow(program);
    if (wanted.length > 0) this.fetcher.prefetch(wanted, this.#maxProgramBytes * 2);
  }

  /** A loaded program is read here and there, and each read waits for a round trip. */
  get #maxProgramBytes(): number {
    const wished = this.#options.link.bytesIn(programMs);
    return Math.min(Math.max(wished, minProgramBytes), maxProgramBytes);
  }

  /**
   * If a program is read for the first time, the rest of it and its libraries are next, and their libraries, and what
   * programs of its kind read. They are requested while the kernel still loads it.
   *
   * @param chunk the first chunk of its file
   */
  async #prefetchProgram(chunk: number): Promise<void> {
    if (this.#programs.has(chunk) || this.#programs.size === maxPrograms) return;
    this.#programs.add(chunk);
    const { disk } = this.#options;
    const diskOffset = this.table.diskOffset[chunk]!;
    const read = async (offset: number, size: number): Promise<Buffer> => {
      const { first, last } = rangesIn(this.file, diskOffset + offset, size);
      await this.fetcher.fetch(first, last);
      const { buffer, bytesRead } = await disk.read(Buffer.alloc(size), 0, size, diskOffset + offset);
      return buffer.subarray(0, bytesRead);
    };
    try {
      const segments = await readElf(read);
      if (segments === undefined) return;
      const needed = neededLibraries(read, segments);
      needed.catch(() => undefined);
      const loaded = Math.min(loadedBytes(segments), maxProgramBytes * 8);
      if (loaded > 0) this.fetcher.prefetch([rangesIn(this.file, diskOffset, loaded)], this.#maxProgramBytes);
      const hints = await this.hints();
      const { files, texts } = hints.companions[chunk] ?? nothing;
      if (files.length > 0) this.fetcher.prefetch(files, this.#maxProgramBytes);
      if (texts.length > 0) this.fetcher.prefetch(texts, maxGuessBytes);
      const libraries = chunksOfLibraries(hints, await needed);
      if (libraries.length > 0) this.fetcher.prefetch(libraries, maxGuessBytes);
      for (const { first } of [...libraries, ...files]) {
        if (this.fetcher.hasAskedFor(first)) void this.#prefetchProgram(first);
      }
    } catch {
      // A failed prefetch costs nothing: the reader that needs the bytes gets the error.
    }
  }
}
