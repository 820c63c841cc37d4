import { createHash } from 'node:crypto';
import { LazypullError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Blob } from '../registry/blob/blob.ts';
import type { Claim, BlobFile } from './blob-file.ts';
import type { MirrorMetrics } from './metrics.ts';

/** How much of the file is read at a time. */
const pieceBytes = 256 << 10;

/** How many missing bytes one request fetches ahead for a client, and how many such requests there are at a time. */
const segmentBytes = 8 << 20;
const segmentsAtOnce = 2;
const maxAheadBytes = 32 << 20;

/** Ranges of one request: registries accept so many. */
const maxParts = 32;

/** How much of a blob's end is requested to learn its size: all of a small one. */
const sizingBytes = 64 << 10;

/**
 * Bytes of a blob, and whether this node had them, or was fetching them for another reason, when they were requested.
 */
export interface Piece {
  readonly data: Buffer;
  readonly from: 'node' | 'registry';
}

interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * A request for a client. It goes on if the client does not, so that no other reader of the same bytes waits for a slow
 * client.
 */
interface Segment {
  readonly claims: readonly Claim[];
  isOver: boolean;
  error: unknown;
}

/** A part of a reader's range that is neither here nor being fetched: so this reader fetches it. */
interface Missing extends Range {
  readonly part: number;
  readonly claim: Claim;
}

/**
 * A partly present blob. Missing parts are fetched, kept, and shared by all readers at the time. All read in ascending
 * order, so no two readers can wait for each other.
 */
export class SharedBlob {
  readonly digest: string;
  readonly #kept: BlobFile;
  readonly #log: Log;
  readonly #stopped: AbortSignal;
  readonly #metrics: MirrorMetrics;
  readonly #segments = new Set<Promise<void>>();
  /** The generation of the content that is known to have the digest. */
  #soundGeneration = -1;
  #checking: Promise<boolean> | undefined;
  /** When bytes were last read from the file, in `performance.now()` milliseconds. */
  #readMs = Number.NEGATIVE_INFINITY;

  /** @param stopped ends the requests that go on without their clients */
  constructor(digest: string, kept: BlobFile, stopped: AbortSignal, metrics: MirrorMetrics, log: Log) {
    this.digest = digest;
    this.#kept = kept;
    this.#stopped = stopped;
    this.#metrics = metrics;
    this.#log = log;
  }

  /** As `Blob.ranges`, with `upstream` for missing bytes. */
  async *ranges(
    upstream: Blob,
    parts: readonly Range[],
    signal?: AbortSignal,
  ): AsyncGenerator<{ part: number; data: Buffer }, void> {
    const missing = parts.flatMap((part, i) => this.#missingOf(part).map((range) => this.#claimFor(i, range)));
    const incoming = missing.length > 0 ? upstream.ranges(missing, signal)[Symbol.asyncIterator]() : undefined;
    try {
      for (const [part, { start, end }] of parts.entries()) {
        for (let position = start; position < end; ) {
          const own = missing.find((each) => each.part === part && each.start === position);
          const stop =
            own?.end ?? Math.min(end, ...missing.filter((each) => each.start > position).map((each) => each.start));
          const pieces = own === undefined ? this.#others(upstream, position, stop, signal) : this.#own(own, incoming!);
          for await (const data of pieces) {
            position += data.length;
            yield { part, data };
          }
        }
      }
    } finally {
      for (const { claim } of missing) this.#kept.release(claim);
      await incoming?.return?.();
    }
  }

  /** As `Blob.tail`. */
  async tail(
    upstream: Blob,
    bytes: number,
    signal?: AbortSignal,
    onBytes = (): void => {},
  ): Promise<{ data: Buffer; size: number }> {
    const { size } = this.#kept;
    if (size === undefined) return this.#askTail(upstream, bytes, signal, onBytes);
    const start = Math.max(size - bytes, 0);
    const pieces: Buffer[] = [];
    for await (const { data } of this.ranges(upstream, [{ start, end: size }], signal)) {
      pieces.push(data);
      onBytes();
    }
    return { data: Buffer.concat(pieces, size - start), size };
  }

  /** The size of the blob in bytes. */
  async size(upstream: Blob, signal?: AbortSignal): Promise<number> {
    return this.#kept.size ?? (await this.#askTail(upstream, sizingBytes, signal)).size;
  }

  /** The bytes [start, end) for a client. Missing bytes are requested ahead of it, several parts with one request. */
  async *read(upstream: Blob, start: number, end: number, signal?: AbortSignal): AsyncGenerator<Piece, void> {
    const kept = this.#kept;
    const segments: Segment[] = [];
    for (let position = start; position < end; ) {
      this.#fetchAhead(upstream, position, end, segments);
      const segment = segments.find(({ claims }) => claims.some((claim) => contains(claim, position)));
      const here = Math.min(kept.endOf(position), end, position + pieceBytes);
      if (here > position) {
        const data = await this.#readFile(position, here);
        if (data === undefined) continue;
        yield { data, from: segment === undefined ? 'node' : 'registry' };
        position += data.length;
      } else if (kept.claimedUpTo(position) > position) {
        await kept.changed(signal);
      } else if (segment?.error !== undefined) {
        throw segment.error;
      } else {
        // It cannot be kept.
        for await (const data of upstream.range(position, Math.min(kept.nextKnown(position), end), signal)) {
          yield { data, from: 'registry' };
          position += data.length;
        }
      }
    }
  }

  /**
   * Whether the blob is not known to be wrong. If all of it is here, it is compared with its digest, once. Wrong
   * content is dropped.
   */
  isSound(): Promise<boolean> {
    if (this.#isKnownSound || !this.#kept.isComplete) return Promise.resolve(true);
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  /** Whether the present content has been compared with the digest. */
  get #isKnownSound(): boolean {
    return this.#soundGeneration === this.#kept.generation && this.#kept.isComplete;
  }

  /** Drops the content, because something in it is wrong. */
  drop(): void {
    this.#metrics.wrongBlobs.add(1);
    this.#log.warn({ blob: this.digest }, 'the kept bytes of a blob are wrong and are fetched again');
    this.#kept.drop();
  }

  /** As `Blob.distrust`: the content is dropped. If it came from the disk, the registry may have better bytes. */
  distrust(upstream: Blob, askedMs: number): Promise<boolean> {
    const wasFromDisk = this.#readMs >= askedMs;
    this.drop();
    return wasFromDisk ? Promise.resolve(true) : upstream.distrust(askedMs);
  }

  /** Resolves when no request is under way. */
  async idle(): Promise<void> {
    while (this.#segments.size > 0) await Promise.all(this.#segments);
  }

  /** The parts of a range that are neither here nor being fetched. */
  #missingOf({ start, end }: Range): Range[] {
    const missing: Range[] = [];
    for (let at = start; at < end; ) {
      const known = Math.max(this.#kept.endOf(at), this.#kept.claimedUpTo(at));
      if (known > at) at = known;
      else {
        const stop = Math.min(this.#kept.nextKnown(at), end);
        missing.push({ start: at, end: stop });
        at = stop;
      }
    }
    return missing;
  }

  #claimFor(part: number, { start, end }: Range): Missing {
    return { part, start, end, claim: this.#kept.claim(start, end) };
  }

  /** The bytes that this reader fetches itself, from the answer to its only request. */
  async *#own({ start, end, claim }: Missing, incoming: AsyncIterator<{ data: Buffer }>): AsyncGenerator<Buffer, void> {
    for (let position = start; position < end; ) {
      const next = await incoming.next();
      if (next.done === true) throw new LazypullError('Unavailable', `The answer for "${this.digest}" was too short`);
      const { data } = next.value;
      this.#kept.put(claim, position, data);
      position += data.length;
      yield data;
    }
    this.#kept.release(claim);
  }

  /**
   * The bytes that were here or being fetched when the reader came. If they do not arrive after all, the reader fetches
   * them.
   */
  async *#others(upstream: Blob, start: number, end: number, signal?: AbortSignal): AsyncGenerator<Buffer, void> {
    const kept = this.#kept;
    for (let position = start; position < end; ) {
      const here = Math.min(kept.endOf(position), end, position + pieceBytes);
      if (here > position) {
        const data = await this.#readFile(position, here);
        if (data === undefined) continue;
        this.#metrics.reusedBytes.add(data.length);
        position += data.length;
        yield data;
      } else if (kept.claimedUpTo(position) > position) {
        await kept.changed(signal);
      } else {
        const missing = this.#claimFor(0, { start: position, end: Math.min(kept.nextKnown(position), end) });
        try {
          for await (const data of upstream.range(missing.start, missing.end, signal)) {
            kept.put(missing.claim, position, data);
            position += data.length;
            yield data;
          }
        } finally {
          kept.release(missing.claim);
        }
      }
    }
  }

  /** Bytes of the file. If they cannot be read, it returns undefined, and nothing is kept any more. */
  async #readFile(start: number, end: number): Promise<Buffer | undefined> {
    const { generation } = this.#kept;
    try {
      const data = await this.#kept.read(start, end);
      this.#readMs = performance.now();
      return data;
    } catch (error) {
      if (generation === this.#kept.generation) {
        this.#log.warn({ blob: this.digest, error: messageOf(error) }, 'cannot read what was kept of a blob');
        this.#kept.drop();
      }
      return undefined;
    }
  }

  async #askTail(
    upstream: Blob,
    bytes: number,
    signal?: AbortSignal,
    onBytes?: () => void,
  ): Promise<{ data: Buffer; size: number }> {
    const found = await upstream.tail(bytes, signal, onBytes);
    const { data, size } = found;
    this.#kept.learnSize(size);
    const claim = this.#kept.claim(size - data.length, size);
    this.#kept.put(claim, claim.start, data);
    this.#kept.release(claim);
    return found;
  }

  /** Requests what a client will need next. */
  #fetchAhead(upstream: Blob, position: number, end: number, segments: Segment[]): void {
    while (segments[0]?.claims.every((claim) => claim.end <= position)) segments.shift();
    while (this.#kept.takesMore && segments.filter(({ isOver }) => !isOver).length < segmentsAtOnce) {
      const wanted = this.#missingOf({ start: position, end: Math.min(end, position + maxAheadBytes) })
        // A range that one of these requests was for is not requested again: it failed, or the disk refused it.
        .filter(({ start }) => !segments.some(({ claims }) => claims.some((claim) => contains(claim, start))));
      const parts: Range[] = [];
      let left = segmentBytes;
      for (const { start, end: stop } of wanted.slice(0, maxParts)) {
        if (left === 0) break;
        parts.push({ start, end: Math.min(stop, start + left) });
        left -= parts.at(-1)!.end - start;
      }
      if (parts.length === 0) return;
      segments.push(this.#segment(upstream, parts));
    }
  }

  #segment(upstream: Blob, parts: readonly Range[]): Segment {
    const claims = parts.map(({ start, end }) => this.#kept.claim(start, end));
    const segment: Segment = { claims, isOver: false, error: undefined };
    const work = this.#fetch(upstream, claims)
      .catch((error: unknown) => {
        segment.error = error;
      })
      .finally(() => {
        segment.isOver = true;
        for (const claim of claims) this.#kept.release(claim);
        this.#segments.delete(work);
      });
    this.#segments.add(work);
    return segment;
  }

  async #fetch(upstream: Blob, claims: readonly Claim[]): Promise<void> {
    const positions = claims.map(({ start }) => start);
    for await (const { part, data } of upstream.ranges(claims, this.#stopped)) {
      this.#kept.put(claims[part]!, positions[part]!, data);
      positions[part]! += data.length;
      await this.#kept.room();
    }
    if (this.#stopped.aborted) throw new LazypullError('Canceled', 'The mirror ends');
  }

  async #check(): Promise<boolean> {
    const { generation, size } = this.#kept;
    const hash = createHash('sha256');
    for (let at = 0; at < size!; at += pieceBytes) {
      const data = await this.#readFile(at, Math.min(at + pieceBytes, size!));
      if (data === undefined) return false;
      hash.update(data);
    }
    if (generation !== this.#kept.generation) return false;
    if (`sha256:${hash.digest('hex')}` === this.digest) {
      this.#soundGeneration = generation;
      return true;
    }
    this.drop();
    return false;
  }
}

function contains({ start, end }: Range, position: number): boolean {
  return start <= position && position < end;
}
