import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LazypullError, messageOf } from '../errors.ts';
import { bootId } from '../kernel/boot.ts';
import type { Log } from '../log.ts';
import { type KeptRecord, readRecord, writeRecord } from './kept-record.ts';
import { RangeSet } from './range-set.ts';

/** Bytes that are gathered before they are written, unless a reader waits for them. */
const writeBytes = 512 << 10;

/** Bytes that may wait to be written; what comes beyond is not kept. */
const maxQueuedBytes = 16 << 20;

/** How many of them wait before a caller that can wait does. */
const roomyBytes = 4 << 20;

/** More ranges than this are not told apart: a byte that would make another one is not kept. */
const maxRanges = 65_536;

/** How long after the disk did not take something nothing is written to it. */
const failingMs = 30_000;

/** A part of a blob that is on its way: others that need it wait for it. */
export interface Claim {
  readonly start: number;
  readonly end: number;
}

/** What decides whether there is room for more. */
export interface Room {
  /** Whether what comes may be kept. */
  hasRoom(): boolean;
  /** Is called when more of the disk is taken. */
  onGrowth(): void;
}

interface OpenClaim extends Claim {
  /** Of the content when it was claimed; what comes for an older one is dropped. */
  readonly generation: number;
  /** Bytes from `at` on that are to be written. */
  pieces: Uint8Array[];
  at: number;
  bytes: number;
}

/**
 * The bytes of one blob that are here, in a sparse file as long as the blob, with a record of which they are. Only the
 * digests of its readers verify what is in the file. Writing never fails: what the disk does not take is not here.
 */
export class KeptBytes {
  readonly path: string;
  readonly #file: FileHandle;
  readonly #log: Log;
  readonly #boot: string;
  readonly #room: Room;
  #present: RangeSet;
  #size: number | undefined;
  #generation = 0;
  readonly #claims = new Set<OpenClaim>();
  #waiting: (() => void)[] = [];
  #writing: Promise<void> = Promise.resolve();
  #queuedBytes = 0;
  #failingUntilMs = 0;
  #isClosed = false;
  /** What of the content is in the record: nothing new, all of it, or all of it for good. */
  #recorded: 'no' | 'yes' | 'synced' = 'synced';

  /** Opens what is in a directory, which is made if it is not there. */
  static async open(path: string, room: Room, log: Log): Promise<KeptBytes> {
    await mkdir(path, { recursive: true, mode: 0o700 });
    const boot = bootId();
    const record = await readRecord(join(path, 'record'), boot);
    const file = await open(join(path, 'data'), constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      const now = new Date();
      await file.utimes(now, now); // when it was last used
      const { size: length } = await file.stat();
      const isWhole = record !== undefined && record.present.ranges.every(([, end]) => end <= length);
      if (!isWhole) await file.truncate(0);
      return new KeptBytes(path, file, boot, isWhole ? record : undefined, room, log);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  private constructor(
    path: string,
    file: FileHandle,
    boot: string,
    record: KeptRecord | undefined,
    room: Room,
    log: Log,
  ) {
    this.path = path;
    this.#file = file;
    this.#boot = boot;
    this.#present = record?.present ?? new RangeSet();
    this.#size = record?.size;
    this.#room = room;
    this.#log = log;
  }

  /** Of the whole blob in bytes, once it is known. */
  get size(): number | undefined {
    return this.#size;
  }

  /** Changes when the content is dropped. */
  get generation(): number {
    return this.#generation;
  }

  /** Whether every byte of the blob is here. */
  get isComplete(): boolean {
    return this.#size !== undefined && this.#present.covers(0, this.#size);
  }

  /** Whether no byte of the blob is here. */
  get isEmpty(): boolean {
    return this.#present.length === 0;
  }

  /** Whether nothing is on its way into it or waits for it. */
  get isIdle(): boolean {
    return this.#claims.size === 0 && this.#waiting.length === 0 && this.#queuedBytes === 0;
  }

  /** Whether what comes now is kept. */
  get takesMore(): boolean {
    return !this.#isClosed && performance.now() >= this.#failingUntilMs && this.#room.hasRoom();
  }

  /** Notes the size of the blob, as a registry told it. One that contradicts what is here drops that. */
  learnSize(size: number): void {
    if (this.#size === size) return;
    const end = this.#present.ranges.at(-1)?.[1] ?? 0;
    if (this.#size !== undefined || end > size) this.drop();
    this.#size = size;
    this.#recorded = 'no';
  }

  /** How far the bytes from `position` on are here without a gap. */
  endOf(position: number): number {
    return this.#present.endOf(position);
  }

  /** How far the bytes from `position` on are on their way: `position` itself if that byte is not. */
  claimedUpTo(position: number): number {
    for (const { start, end } of this.#open) if (start <= position && position < end) return end;
    return position;
  }

  /** The first byte after `position` that is here or on its way; infinity if there is none. */
  nextKnown(position: number): number {
    let next = this.#present.nextStart(position);
    for (const { start } of this.#open) if (start > position && start < next) next = start;
    return next;
  }

  /** Says that the caller fetches the bytes [start, end) and will `put` them; `release` must follow. */
  claim(start: number, end: number): Claim {
    const claim: OpenClaim = { start, end, generation: this.#generation, pieces: [], at: start, bytes: 0 };
    this.#claims.add(claim);
    return claim;
  }

  /** Keeps bytes of a claim, which must not be changed afterwards. Does not wait for the disk. */
  put(claim: Claim, position: number, data: Uint8Array): void {
    const open = claim as OpenClaim;
    if (open.generation !== this.#generation || this.#queuedBytes > maxQueuedBytes) return;
    if (!this.takesMore) return;
    if (open.at + open.bytes !== position) {
      this.#submit(open);
      open.at = position;
    }
    open.pieces.push(data);
    open.bytes += data.length;
    this.#queuedBytes += data.length;
    if (open.bytes >= writeBytes || this.#waiting.length > 0) this.#submit(open);
  }

  /** Ends a claim: what of it was not put is not on its way any more. */
  release(claim: Claim): void {
    const open = claim as OpenClaim;
    this.#submit(open);
    void this.#writing.then(() => {
      this.#claims.delete(open);
      this.#wake();
    });
  }

  /** Resolves when few bytes wait for the disk. */
  async room(): Promise<void> {
    while (this.#queuedBytes > roomyBytes) await this.changed();
  }

  /** Resolves when what was put so far has been written, or could not be. */
  async written(): Promise<void> {
    for (const claim of this.#claims) this.#submit(claim);
    await this.#writing;
  }

  /** Resolves when something has come, or does not come any more. Rejects when the signal aborts. */
  async changed(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    for (const claim of this.#claims) this.#submit(claim);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = (): void => reject(signal!.reason as Error);
    this.#waiting.push(resolve);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#waiting = this.#waiting.filter((each) => each !== resolve);
    }
  }

  /** The bytes [start, end), which are here. Throws DataLoss if the file does not have them after all. */
  async read(start: number, end: number): Promise<Buffer> {
    const generation = this.#generation;
    const data = Buffer.allocUnsafeSlow(end - start);
    for (let done = 0; done < data.length; ) {
      const { bytesRead } = await this.#file.read(data, done, data.length - done, start + done);
      if (bytesRead === 0) throw new LazypullError('DataLoss', `The file of "${this.path}" is too short`);
      done += bytesRead;
    }
    if (generation !== this.#generation) throw new LazypullError('DataLoss', 'The bytes were dropped');
    return data;
  }

  /** Forgets all bytes and the size: something in them is wrong. What is on its way is not kept either. */
  drop(): void {
    this.#generation++;
    this.#present.clear();
    this.#size = undefined;
    this.#recorded = 'no';
    this.#wake();
    if (this.#isClosed) return;
    this.#writing = this.#writing
      .then(() => rm(this.#recordPath, { force: true })) // before another content can be taken for the one that it speaks of
      .then(() => this.#file.truncate(0))
      .catch((error: unknown) => this.#fail(error));
  }

  /**
   * Writes down what is here: for the time until the machine stops, and when nothing has been added since it was last
   * called, for good. Never rejects: what is not written down is fetched again in the next life.
   */
  async flush(isLast = false): Promise<void> {
    if (this.#recorded === 'synced') return;
    const isSynced = isLast || this.#recorded === 'yes';
    await this.written();
    const record = { size: this.#size, present: RangeSet.of(this.#present.ranges)! };
    this.#recorded = isSynced ? 'synced' : 'yes';
    try {
      if (isSynced) await this.#file.datasync();
      await writeRecord(this.#recordPath, this.#boot, record, isSynced);
    } catch (error) {
      this.#recorded = 'no';
      this.#fail(error);
    }
  }

  /** Closes the file, of which nothing is needed any more. */
  async abandon(): Promise<void> {
    this.#isClosed = true;
    await this.#writing;
    await this.#file.close();
  }

  /** Writes everything down and closes the file. From then on nothing can be read, and what comes is not kept. */
  async close(): Promise<void> {
    await this.written();
    this.#isClosed = true;
    await this.flush(true);
    await this.#writing;
    await this.#file.close();
  }

  get #recordPath(): string {
    return join(this.path, 'record');
  }

  /** The claims on the content as it is now. */
  get #open(): OpenClaim[] {
    return [...this.#claims].filter(({ generation }) => generation === this.#generation);
  }

  /** Hands the gathered bytes of a claim to the disk. */
  #submit(claim: OpenClaim): void {
    const { pieces, at, bytes, generation } = claim;
    if (bytes === 0) return;
    claim.pieces = [];
    claim.at = at + bytes;
    claim.bytes = 0;
    this.#writing = this.#writing.then(async () => {
      if (generation === this.#generation && this.#canTell(at, at + bytes)) await this.#write(pieces, at, bytes);
      this.#queuedBytes -= bytes;
      this.#wake();
    });
  }

  async #write(pieces: Uint8Array[], at: number, bytes: number): Promise<void> {
    const generation = this.#generation;
    try {
      const { bytesWritten } = await this.#file.writev(pieces, at);
      if (bytesWritten < bytes) throw new LazypullError('ResourceExhausted', 'The disk did not take all of it');
      if (generation !== this.#generation) return;
      this.#present.add(at, at + bytes);
      this.#recorded = 'no';
      this.#room.onGrowth();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Whether the bytes do not make one range more than are told apart. */
  #canTell(start: number, end: number): boolean {
    if (this.#present.length < maxRanges) return true;
    return this.#present.endOf(start) > start || this.#present.nextStart(start) <= end;
  }

  #fail(error: unknown): void {
    if (performance.now() >= this.#failingUntilMs) {
      this.#log.warn({ path: this.path, error: messageOf(error) }, 'cannot keep the bytes of a blob');
    }
    this.#failingUntilMs = performance.now() + failingMs;
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
