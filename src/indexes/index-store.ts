import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, open, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOfHex, hexOf, isSha256Hex, sha256 } from '../chunks/digest.ts';
import { codeOf, errnoOf, LazypullError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { type IndexArtifact, maxIndexBytes } from './artifact.ts';
import { RecentMap } from '../util/recent-map.ts';
import { replacing } from '../kernel/replace-file.ts';
import type { IndexOrigin } from './index-origin.ts';
import { damaged, digestOfFile, encodeRecord, type IndexRecord, readAt, readRecord } from './index-record.ts';
import { sinceMs } from '../util/since.ts';
import { makeDirectory } from '../kernel/make-directory.ts';

/** An index in the store. */
export interface StoredIndex extends IndexRecord {
  /** Its file, whose bytes [0, size) are the index. It is never changed: a hard link to it stays as it is. */
  readonly path: string;
  readonly lastUsedMs: number;
}

/** An index to store. Its digest and size are compared if they are known before. */
export interface NewIndex extends Omit<IndexArtifact, 'digest' | 'size'> {
  readonly digest?: string;
  readonly size?: number;
  readonly origin: IndexOrigin;
}

/** How long the bytes that were counted are believed. */
const countedMs = 5_000;

/** Older temporary files belong to processes that have gone. */
const staleMs = 3_600_000;

/** A use is recorded at most once in this time. */
const useGrainMs = 60_000;

/** How much of the limit is left after the oldest indexes had to go, so that not each new index removes another. */
const keptShare = 0.9;

/**
 * How long, and for how many files, a successful verification is remembered. Windows of an index are read many times in
 * a row.
 */
const verifiedMs = 60_000;
const maxVerified = 1_024;

/**
 * The layer indexes of a machine, in `indexes/` below the root: a file for each layer, named by the hex of its digest.
 * They outlive the data of their layers. Several processes may use it at once: files are written under another name and
 * renamed, and never changed.
 */
export class IndexStore {
  /** Where the files are. */
  readonly directory: string;
  readonly #maxBytes: number;
  readonly #log: Log;
  /** What all take: to look at all of them for each one that comes takes too long. Others may write here too. */
  #counted: { bytes: number; readonly untilMs: number } | undefined;
  /** The inode numbers of verified files, by layer. */
  readonly #verified = new RecentMap<number>(maxVerified);

  /**
   * @param root the daemon's root
   * @param maxBytes maximum of all files; the longest unused go first. 0 for no limit
   */
  constructor(root: string, maxBytes: number, log: Log) {
    this.directory = join(root, 'indexes');
    this.#maxBytes = maxBytes;
    this.#log = log;
  }

  /**
   * The index of a layer, all of which was compared with its digest at most a minute ago. Records the use. Undefined if
   * there is none; a damaged one is removed.
   *
   * @throws InvalidArgument if `layer` is not a sha256 digest; Unavailable if the disk cannot be read
   */
  async find(layer: string): Promise<StoredIndex | undefined> {
    const path = this.#path(layer);
    try {
      await using file = await open(path);
      const kept = await this.#describe(file, path, layer);
      const { ino } = await file.stat();
      if (this.#verified.get(layer) !== ino) await verify(file, kept);
      this.#verified.set(layer, ino, verifiedMs);
      const now = Date.now();
      if (Math.abs(now - kept.lastUsedMs) > useGrainMs)
        await utimes(path, now / 1000, now / 1000).catch(() => undefined);
      return kept;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      if (codeOf(error) !== 'DataLoss') throw this.#unreadable(error);
      this.#log.warn({ layer, error: messageOf(error) }, 'Removes a layer index that is damaged');
      await rm(path, { force: true });
      return undefined;
    }
  }

  /** The bytes [start, end) of a found index. Throws NotFound if it was removed meanwhile. */
  async read({ path, size }: StoredIndex, start: number, end: number): Promise<Buffer> {
    if (start < 0 || end < start || end > size) throw damaged(`it has no bytes ${start} to ${end}`);
    try {
      await using file = await open(path);
      return await readAt(file, start, end);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw new LazypullError('NotFound', `The layer index "${path}" is not kept any more`, { cause: error });
    }
  }

  /**
   * Stores an index in place of the previous one.
   *
   * @param content its bytes, in pieces of any size
   * @throws DataLoss if the bytes are not the expected ones; ResourceExhausted if it alone exceeds the limit;
   * Unavailable if it cannot be written
   */
  async keep(index: NewIndex, content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<StoredIndex> {
    const { layer, tail, signature, origin } = index;
    const path = this.#path(layer);
    const temporary = `${path}.${randomUUID()}`;
    const room = this.#maxBytes === 0 ? maxIndexBytes : this.#maxBytes;
    if (index.size !== undefined && index.size > room) throw this.#tooLarge(index.size);
    const keptMs = Date.now();
    try {
      makeDirectory(this.directory, 0o700);
      const record = await replacing(path, temporary, async () => {
        await using file = await open(temporary, 'wx+', 0o600);
        const { digest, size } = await copy(content, file, index.size ?? room);
        const isRight = digest === (index.digest ?? digest) && size === (index.size ?? size) && tail.bytes <= size;
        if (!isRight) throw damaged(`what was received for ${layer} is not what was announced`);
        const marked = await readAt(file, size - tail.bytes, size);
        if (sha256(marked) !== tail.digest) throw damaged(`the tail received for ${layer} does not match its digest`);
        const signed = signature === undefined ? {} : { signature };
        const written: IndexRecord = { layer, digest, size, tail, ...signed, origin, keptMs };
        await file.appendFile(encodeRecord(written));
        await file.datasync();
        return written;
      });
      await this.#makeRoom(path, record.size);
      return { ...record, path, lastUsedMs: keptMs };
    } catch (error) {
      if (error instanceof LazypullError) throw error;
      throw new LazypullError('Unavailable', `Cannot write a layer index into "${this.directory}"`, { cause: error });
    }
  }

  /** All indexes, the longest unused first; files are not compared with their digests. */
  async list(): Promise<StoredIndex[]> {
    const kept: StoredIndex[] = [];
    for (const layer of await this.#layers()) {
      const path = this.#path(layer);
      try {
        await using file = await open(path);
        kept.push(await this.#describe(file, path, layer));
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT' && codeOf(error) !== 'DataLoss') throw this.#unreadable(error);
      }
    }
    return kept.sort((a, b) => a.lastUsedMs - b.lastUsedMs);
  }

  /** Removes the index of a layer. @returns whether there was one */
  async remove(layer: string): Promise<boolean> {
    try {
      await rm(this.#path(layer));
      return true;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false;
      throw new LazypullError('Unavailable', `Cannot remove the index of ${layer}`, { cause: error });
    }
  }

  /**
   * Removes indexes that were not used for `unusedMs`, the longest unused first, until the rest takes no more than
   * `keepBytes`. Also removes damaged and half-written files.
   *
   * @returns the removed indexes
   */
  async prune({ unusedMs, keepBytes }: { unusedMs: number; keepBytes: number }): Promise<StoredIndex[]> {
    const listed = await this.list();
    await this.#removeStrays(new Set(listed.map(({ path }) => path)));
    let bytes = listed.reduce((sum, { size }) => sum + size, 0);
    const removed: StoredIndex[] = [];
    for (const index of listed) {
      if (bytes <= keepBytes || sinceMs(index.lastUsedMs) < unusedMs) break;
      if (await this.remove(index.layer)) removed.push(index);
      bytes -= index.size;
    }
    return removed;
  }

  async #describe(file: FileHandle, path: string, layer: string): Promise<StoredIndex> {
    const { size, mtimeMs } = await file.stat();
    const record = await readRecord(file, size);
    if (record.layer !== layer) throw damaged('it is of another layer');
    return { ...record, path, lastUsedMs: Math.round(mtimeMs) };
  }

  /** If all indexes exceed the limit, removes the longest unused, but not `latest`. */
  async #makeRoom(latest: string, latestBytes: number): Promise<void> {
    if (this.#maxBytes === 0) return;
    const counted = this.#counted;
    if (counted !== undefined && performance.now() < counted.untilMs) {
      counted.bytes += latestBytes;
      if (counted.bytes <= this.#maxBytes) return;
    }
    const files: { path: string; bytes: number; usedMs: number }[] = [];
    for (const layer of await this.#layers()) {
      const path = this.#path(layer);
      const found = await stat(path).catch(() => undefined);
      if (found !== undefined) files.push({ path, bytes: found.size, usedMs: found.mtimeMs });
    }
    let bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    await this.#removeHalfWritten();
    const isTooMuch = bytes > this.#maxBytes;
    for (const file of files.sort((a, b) => a.usedMs - b.usedMs)) {
      if (!isTooMuch || bytes <= this.#maxBytes * keptShare) break;
      if (file.path === latest) continue;
      await rm(file.path, { force: true });
      bytes -= file.bytes;
    }
    this.#counted = { bytes, untilMs: performance.now() + countedMs };
  }

  /** Removes files that are no indexes: of processes that ended while they wrote, and damaged ones. */
  async #removeStrays(known: ReadonlySet<string>): Promise<void> {
    await this.#removeHalfWritten();
    for (const name of await this.#names()) {
      const path = join(this.directory, name);
      if (name.length <= hexDigits && !known.has(path) && (await this.#isStray(name))) await rm(path, { force: true });
    }
  }

  /** Whether a file is no index, or a damaged one. One that was not listed may have come since. */
  async #isStray(name: string): Promise<boolean> {
    if (!isSha256Hex(name)) return true;
    const layer = digestOfHex(name);
    const path = this.#path(layer);
    try {
      await using file = await open(path);
      await this.#describe(file, path, layer);
      return false;
    } catch (error) {
      return codeOf(error) === 'DataLoss';
    }
  }

  /** Removes files of processes that were killed while they wrote. They are in no list, and take room. */
  async #removeHalfWritten(): Promise<void> {
    for (const name of await this.#names()) {
      if (name.length <= hexDigits) continue;
      const path = join(this.directory, name);
      const found = await stat(path).catch(() => undefined);
      if (found !== undefined && Date.now() - found.mtimeMs >= staleMs) await rm(path, { force: true });
    }
  }

  async #layers(): Promise<string[]> {
    return (await this.#names()).filter(isSha256Hex).map(digestOfHex);
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.directory);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw this.#unreadable(error);
    }
  }

  #path(layer: string): string {
    return join(this.directory, hexOf(layer, 'layer digest'));
  }

  #unreadable(error: unknown): LazypullError {
    return new LazypullError('Unavailable', `Cannot read the layer indexes in "${this.directory}"`, { cause: error });
  }

  #tooLarge(bytes: number): LazypullError {
    const why = `it takes ${bytes} bytes, and all indexes may take ${this.#maxBytes}`;
    return new LazypullError('ResourceExhausted', `Cannot keep a layer index: ${why}`, {
      hint: 'raise max_size in [index] of the config file',
    });
  }
}

const hexDigits = 64;

/** Writes the pieces and returns their digest and size. Throws DataLoss above `limit` bytes. */
async function copy(
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  file: FileHandle,
  limit: number,
): Promise<{ digest: string; size: number }> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const piece of content) {
    size += piece.length;
    if (size > limit) throw new LazypullError('DataLoss', `Cannot keep a layer index: it has more than ${limit} bytes`);
    hash.update(piece);
    await file.appendFile(piece);
  }
  if (size === 0) throw new LazypullError('DataLoss', 'Cannot keep a layer index: it is empty');
  return { digest: digestOfHex(hash.digest('hex')), size };
}

async function verify(file: FileHandle, { digest, size }: IndexRecord): Promise<void> {
  if ((await digestOfFile(file, size)) !== digest) throw damaged('its bytes do not match its digest');
}
