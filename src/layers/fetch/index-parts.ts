import { hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { LazypullError } from '../../errors.ts';
import type { IndexPart } from '../../formats/layer-format.ts';

/** Parts with so few bytes between them are fetched together. */
const maxGapBytes = 16 << 10;

/** Maximum bytes of one fetch. */
const maxFetchBytes = 1 << 20;

/** An index file contradicts itself: it is wrong, whatever the blob has. */
export class WrongIndex extends LazypullError {
  constructor(message: string) {
    super('DataLoss', message);
  }
}

/** Fetches bytes [start, end) of a layer's index file. */
export type FetchIndexBytes = (start: number, end: number, signal: AbortSignal) => Promise<Buffer>;

interface Fetch {
  readonly parts: IndexPart[];
  readonly start: number;
  end: number;
}

/**
 * The parts of a layer's index file that unpacking its chunks needs. They are kept in a sparse copy of the file, in the
 * layer's directory, from which the threads read them. The copy is never trusted: a part is here once it has its
 * digest.
 */
export class IndexParts implements AsyncDisposable {
  readonly #path: string;
  readonly #fetchBytes: FetchIndexBytes;
  readonly #here = new Set<number>();
  readonly #coming = new Map<number, Promise<void>>();
  readonly #closing = new AbortController();
  #file: Promise<FileHandle> | undefined;

  /** @param path path of the copy, which need not exist yet */
  constructor(path: string, fetchBytes: FetchIndexBytes) {
    this.#path = path;
    this.#fetchBytes = fetchBytes;
  }

  /**
   * Resolves when some parts are in the copy. Rejects with DataLoss if one does not have its digest, and with the
   * reason if one cannot be fetched.
   */
  async need(parts: readonly IndexPart[]): Promise<void> {
    const absent = parts.filter(({ start }) => !this.#here.has(start));
    if (absent.length === 0) return;
    const unknown = absent.filter(({ start }) => !this.#coming.has(start));
    if (unknown.length > 0) {
      const bringing = this.#bring(unknown);
      for (const { start } of unknown) {
        const coming = bringing.finally(() => this.#coming.delete(start));
        coming.catch(() => undefined); // its waiters get the error
        this.#coming.set(start, coming);
      }
    }
    await Promise.all(absent.flatMap(({ start }) => this.#coming.get(start) ?? []));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new LazypullError('Canceled', 'The layer was closed'));
    await Promise.allSettled(this.#coming.values());
    await (await this.#file?.catch(() => undefined))?.close();
  }

  async #bring(parts: readonly IndexPart[]): Promise<void> {
    const missing: IndexPart[] = [];
    for (const part of parts) if (!(await this.#isInCopy(part))) missing.push(part);
    await Promise.all(together(missing).map((fetch) => this.#fetch(fetch)));
  }

  async #isInCopy(part: IndexPart): Promise<boolean> {
    const { start, end } = part;
    const file = await this.#open();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(end - start), 0, end - start, start);
    if (bytesRead < end - start || !isRight(part, buffer)) return false;
    this.#here.add(start);
    return true;
  }

  async #fetch({ parts, start, end }: Fetch): Promise<void> {
    const bytes = await this.#fetchBytes(start, end, this.#closing.signal);
    const file = await this.#open();
    for (const part of parts) {
      const content = bytes.subarray(part.start - start, part.end - start);
      if (!isRight(part, content)) {
        throw new LazypullError('DataLoss', `Bytes ${part.start} to ${part.end} of the layer index are wrong`);
      }
      await file.write(content, 0, content.length, part.start);
      this.#here.add(part.start);
    }
  }

  /** The copy may be a link to a file of the store, which has all parts. Only correct bytes are ever written. */
  #open(): Promise<FileHandle> {
    this.#file ??= open(this.#path, 'r+').catch(() => open(this.#path, 'w+', 0o600));
    return this.#file;
  }
}

function isRight({ digest }: IndexPart, content: Uint8Array): boolean {
  return hash('sha256', content, 'buffer').equals(digest);
}

/** Parts in the order of the file, as few fetches. */
function together(parts: readonly IndexPart[]): Fetch[] {
  const fetches: Fetch[] = [];
  for (const part of parts.toSorted((a, b) => a.start - b.start)) {
    const last = fetches.at(-1);
    const isNear = last !== undefined && part.start - last.end <= maxGapBytes && part.end - last.start <= maxFetchBytes;
    if (isNear) {
      last.parts.push(part);
      last.end = Math.max(last.end, part.end);
    } else fetches.push({ parts: [part], start: part.start, end: part.end });
  }
  return fetches;
}
