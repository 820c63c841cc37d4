import { LazypullError, messageOf } from '../../errors.ts';
import type { Log } from '../../log.ts';
import type { Blob } from './blob.ts';
import type { BlobLocation } from './blob-location.ts';
import { atMost, concat, discard, exactly, paced } from '../http/body.ts';
import { answerError, RegistryError } from '../errors.ts';
import { byterangesBoundary, type Piece, readByteranges } from './multipart.ts';
import { type ByteRange, PartsLeft } from './parts.ts';
import { formatRanges, formatSuffixRange, maxRangesLength, parseContentLength, parseContentRange } from './ranges.ts';
import { headerOf } from '../refused-answer.ts';
import { type RetryPolicy, retrying, Tries } from '../http/retry.ts';
import { stoppable } from '../http/stoppable.ts';
import type { Answer, Counters } from '../http/transport.ts';

/** State that the blobs of one client share. */
export interface BlobContext {
  readonly policy: RetryPolicy;
  readonly log: Log;
  readonly counters: Counters;
  /** Origins that refused `bytes=-N`, or several ranges at once. They are not asked so again. */
  readonly suffixRefusers: Set<string>;
  readonly severalRefusers: Set<string>;
}

/** How fast an answer must come if there is another server, after a first wait. */
const minBytesPerSecond = 32 * 1024;
const slowAfterMs = 5_000;

const maxTailBytes = 64 * 1024 * 1024;

/** How much of a blob may be fetched in vain from a server that ignores ranges. */
const maxWastedBytes = 4 * 1024 * 1024;

/** Servers bound the ranges of a request (Apache: 200) and the length of a header line (nginx: 8 KiB). */
const maxPartsPerRequest = 64;

/**
 * Statuses that refuse a form of range: Azure and some proxies for `bytes=-N`, Google's registry for several ranges.
 */
const formRefusals = new Set([400, 416, 501]);

/** A blob behind a registry or its mirrors. Remembers its size and its place. */
export class RemoteBlob implements Blob {
  readonly digest: string;
  readonly #context: BlobContext;
  readonly #location: BlobLocation;
  #size: number | undefined;
  #distrustedMs = 0;

  constructor(context: BlobContext, location: BlobLocation, digest: string) {
    this.digest = digest;
    this.#context = context;
    this.#location = location;
  }

  async tail(bytes: number, signal?: AbortSignal, onBytes?: () => void): Promise<{ data: Buffer; size: number }> {
    if (!Number.isSafeInteger(bytes) || bytes < 1 || bytes > maxTailBytes) {
      throw new LazypullError(
        'InvalidArgument',
        `Cannot read the last ${bytes} bytes of a blob: 1 to ${maxTailBytes} are possible`,
      );
    }
    const tries = new Tries(this.#context.policy, this.#context.log, signal, bytes);
    return retrying(tries, async () => {
      let refuser: string | undefined;
      if (this.#size === undefined && !(await this.#refuses(this.#context.suffixRefusers))) {
        const answer = await this.#location.open(formatSuffixRange(bytes), signal, formRefusals);
        const found = await this.#readTail(answer, bytes, tries, onBytes).catch((error: unknown) => {
          throw signal?.aborted ? error : this.#location.blame(answer, error);
        });
        if (found !== undefined) return found;
        refuser = answer.url.origin;
      }
      const size = this.#size ?? (await this.#describe(signal)).size;
      if (refuser !== undefined && size >= bytes) this.#context.suffixRefusers.add(refuser);
      const start = Math.max(size - bytes, 0);
      if (start === size) return { data: Buffer.alloc(0), size };
      const data = await concat(this.#one({ start, end: size }, tries, signal), onBytes);
      if (this.#size === size) return { data, size };
      throw new RegistryError(
        'Unavailable',
        `Cannot read the end of "${this.digest}": servers disagree about its size`,
        {
          retryable: true,
        },
      );
    });
  }

  describe(signal?: AbortSignal): Promise<{ size: number; takesRanges: boolean }> {
    const tries = new Tries(this.#context.policy, this.#context.log, signal);
    return retrying(tries, () => this.#describe(signal));
  }

  async distrust(askedMs: number): Promise<boolean> {
    if (askedMs < this.#distrustedMs) return this.#location.hasUntried();
    this.#distrustedMs = performance.now();
    this.#size = undefined;
    await this.#location.distrust();
    return this.#location.hasUntried();
  }

  range(start: number, end: number, signal?: AbortSignal): AsyncIterable<Buffer> {
    const parts = partsLeft([{ start, end }]);
    const only = (item: { data: Buffer }): Buffer => item.data;
    return stoppable((stop) => this.#resuming(parts(), stop, only), signal);
  }

  ranges(parts: readonly ByteRange[], signal?: AbortSignal): AsyncIterable<{ part: number; data: Buffer }> {
    const left = partsLeft(parts);
    return stoppable((stop) => this.#resuming(left(), stop, (item) => item), signal);
  }

  /** Resumes after each failure from where it stopped. */
  async *#resuming<T>(
    left: PartsLeft,
    signal: AbortSignal,
    shape: (item: { part: number; data: Buffer }) => T,
  ): AsyncGenerator<T, void> {
    const tries = new Tries(this.#context.policy, this.#context.log, signal);
    while (!left.isDone) {
      try {
        for await (const { offset, data } of this.#pieces(left, tries, signal)) {
          for (const item of left.take(offset, data)) {
            tries.progressed(item.data.length);
            yield shape(item);
          }
        }
      } catch (error) {
        if (!left.isDone) await tries.failed(error);
      }
    }
  }

  /** One request for as much of the rest as it can reach. */
  async *#pieces(left: PartsLeft, tries: Tries, signal: AbortSignal): AsyncGenerator<Piece, void> {
    const wanted = left.wanted((await this.#refuses(this.#context.severalRefusers)) ? 1 : maxPartsPerRequest);
    while (formatRanges(wanted).length > maxRangesLength) wanted.pop();
    if (wanted.length > 1) {
      yield* this.#several(wanted, left, tries, signal);
      return;
    }
    let offset = wanted[0]!.start;
    for await (const data of this.#one(wanted[0]!, tries, signal)) {
      yield { offset, data };
      offset += data.length;
    }
  }

  /**
   * Several ranges with one request. If the server does not support that, or answers in its own way, it is not asked so
   * again, and nothing more comes.
   */
  async *#several(
    wanted: readonly ByteRange[],
    left: PartsLeft,
    tries: Tries,
    signal: AbortSignal,
  ): AsyncGenerator<Piece, void> {
    const answer = await tries.timing(this.#location.open(formatRanges(wanted), signal, formRefusals));
    const { origin } = answer.url;
    const boundary = answer.status === 206 ? byterangesBoundary(headerOf(answer, 'content-type')) : undefined;
    if (boundary === undefined) {
      this.#context.severalRefusers.add(origin);
      discard(answer);
      return;
    }
    const before = left.taken;
    const body = paced(answer, tries, this.#context.counters, this.#isTooSlow(answer));
    try {
      for await (const piece of readByteranges(body, boundary)) {
        if (piece.size !== undefined) this.#learnSize(answer, piece.size);
        if (left.leavesOut(piece.offset))
          throw new Error('the parts of the multipart answer are not those that were asked for');
        yield piece;
      }
      if (left.taken === before) this.#context.severalRefusers.add(origin);
    } catch (error) {
      if (error instanceof RegistryError) throw signal.aborted ? error : this.#location.blame(answer, error);
      this.#context.severalRefusers.add(origin);
      throw answerError(answer, messageOf(error));
    } finally {
      answer.body.destroy();
    }
  }

  /** One range with one request. */
  async *#one(range: ByteRange, tries: Tries, signal: AbortSignal | undefined): AsyncGenerator<Buffer, void> {
    const answer = await tries.timing(this.#location.open(formatRanges([range]), signal));
    try {
      yield* this.#bodyOf(answer, range, tries);
    } catch (error) {
      throw signal?.aborted ? error : this.#location.blame(answer, error);
    } finally {
      answer.body.destroy();
    }
  }

  /** A slower answer is not waited for if there is another server. */
  #isTooSlow(answer: Answer): (bytes: number, waitedMs: number) => boolean {
    return (bytes, waitedMs) =>
      waitedMs > slowAfterMs && bytes < (minBytesPerSecond * waitedMs) / 1000 && this.#location.hasAnother(answer);
  }

  #bodyOf(answer: Answer, { start, end }: ByteRange, tries: Tries): AsyncGenerator<Buffer, void> {
    const header = headerOf(answer, 'content-range');
    const range = parseContentRange(header);
    const length = parseContentLength(headerOf(answer, 'content-length'));
    const size = answer.status === 200 ? length : range?.size;
    if (size !== undefined) this.#learnSize(answer, size);
    const known = this.#size;
    if (known !== undefined && known < end) {
      this.#size = undefined; // it may have been wrong
      throw answerError(answer, `the blob has only ${known} bytes, not ${end}`, 'DataLoss');
    }
    if (answer.status === 200) {
      if (start > maxWastedBytes) {
        const problem = 'the server ignores ranges, so the blob cannot be read in parts: pull the image instead';
        throw answerError(answer, problem, 'FailedPrecondition');
      }
      return slice(paced(answer, tries, this.#context.counters, this.#isTooSlow(answer)), answer, start, end);
    }
    if (answer.status !== 206 || range?.kind !== 'range' || range.start !== start || range.end !== end) {
      throw answerError(
        answer,
        `asked for bytes ${start}-${end - 1}, answered ${answer.status} with Content-Range "${header ?? ''}"`,
      );
    }
    if (length !== undefined && length !== end - start) {
      throw answerError(answer, `the Content-Length ${length} is not that of bytes ${start}-${end - 1}`);
    }
    return exactly(answer, end - start, tries, this.#context.counters, this.#isTooSlow(answer));
  }

  /**
   * The bytes of an answer to a suffix range; undefined if the server refused the range. The size is noted if the
   * answer has it.
   */
  async #readTail(
    answer: Answer,
    bytes: number,
    tries: Tries,
    onBytes: (() => void) | undefined,
  ): Promise<{ data: Buffer; size: number } | undefined> {
    const header = headerOf(answer, 'content-range');
    const range = parseContentRange(header);
    const length = parseContentLength(headerOf(answer, 'content-length'));
    const { counters } = this.#context;
    if (answer.status === 206 && range?.kind === 'range' && range.size !== undefined) {
      const { start, end, size } = range;
      this.#learnSize(answer, size);
      if (end === size && start === Math.max(size - bytes, 0)) {
        return { data: await concat(exactly(answer, end - start, tries, counters), onBytes), size };
      }
      discard(answer);
      throw answerError(answer, `asked for the last ${bytes} bytes, answered with Content-Range "${header}"`);
    }
    const most = Math.max(bytes, maxWastedBytes);
    if (answer.status === 200 && (length ?? 0) <= most) {
      const chunks =
        length === undefined ? atMost(answer, most, tries, counters) : exactly(answer, length, tries, counters);
      const data = await concat(chunks, onBytes);
      this.#learnSize(answer, data.length);
      return { data: data.subarray(Math.max(data.length - bytes, 0)), size: data.length };
    }
    discard(answer);
    const size = answer.status === 200 ? length : range?.size;
    if (size !== undefined) this.#learnSize(answer, size);
    return undefined;
  }

  async #describe(signal: AbortSignal | undefined): Promise<{ size: number; takesRanges: boolean }> {
    const answer = await this.#location.open(formatRanges([{ start: 0, end: 1 }]), signal);
    discard(answer);
    const range = parseContentRange(headerOf(answer, 'content-range'));
    const size = answer.status === 200 ? parseContentLength(headerOf(answer, 'content-length')) : range?.size;
    if (size === undefined)
      throw answerError(answer, 'the server does not tell the size of the blob', 'FailedPrecondition');
    this.#learnSize(answer, size);
    return { size, takesRanges: answer.status !== 200 };
  }

  async #refuses(refusers: ReadonlySet<string>): Promise<boolean> {
    return refusers.size > 0 && refusers.has(await this.#location.likelyOrigin());
  }

  #learnSize(answer: Answer, size: number): void {
    const before = this.#size;
    if (before !== undefined && before !== size) {
      this.#size = undefined; // the first one may have been wrong
      throw answerError(answer, `the blob had ${before} bytes and now has ${size}`, 'DataLoss');
    }
    this.#size = size;
  }
}

function partsLeft(parts: readonly ByteRange[]): () => PartsLeft {
  try {
    new PartsLeft(parts);
  } catch (error) {
    throw new LazypullError('InvalidArgument', 'Cannot read a part of a blob', { cause: error });
  }
  return () => new PartsLeft(parts);
}

/** The bytes [start, end) of a whole blob that was sent although a range was asked for. */
async function* slice(
  chunks: AsyncIterable<Buffer>,
  answer: Answer,
  start: number,
  end: number,
): AsyncGenerator<Buffer, void> {
  let position = 0;
  for await (const chunk of chunks) {
    const share = chunk.subarray(Math.max(start - position, 0), Math.max(end - position, 0));
    position += chunk.length;
    if (share.length > 0) yield share;
    if (position >= end) return;
  }
  throw answerError(answer, `the body ended after ${position} of at least ${end} bytes`);
}
