import { constants } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LazypullError, messageOf } from '../errors.ts';
import { bootId } from '../kernel/boot.ts';
import type { Log } from '../log.ts';
import { type BlobRecord, readRecord, writeRecord } from './blob-record.ts';
import { RangeSet } from './range-set.ts';
import { makeDirectory } from '../kernel/make-directory.ts';

/** Bytes that are gathered before they are written, unless a reader waits for them. */
const writeBytes = 512 << 10;

/** Bytes that may wait to be written; any more are not kept. */
const maxQueuedBytes = 16 << 20;

/** With more waiting bytes than this, a caller that can wait does. */
const roomyBytes = 4 << 20;

/** More ranges than this are not tracked: a byte that would make another range is not kept. */
const maxRanges = 65_536;

/** How long nothing is written to the disk after it refused something. */
const failingMs = 30_000;

/** A part of a blob that is being fetched: others that need it wait for it. */
export interface Claim {
  readonly start: number;
  readonly end: number;
}

/** Decides whether there is room for more. */
export interface Room {
  /** Whether new bytes may be kept. */
  hasRoom(): boolean;
  /** Is called when more disk space is used. */
  onGrowth(): void;
}

interface OpenClaim extends Claim {
  /** The generation of the content at the time of the claim; bytes for an older one are dropped. */
  readonly generation: number;
  /** Bytes from `at` on that must be written. */
  pieces: Uint8Array[];
  at: number;
  bytes: number;
}

/**
 * The present bytes of one blob, in a sparse file as long as the blob, with a record of which they are. Only the
 * digests of its readers verify the content of the file. Writing never fails: bytes that the disk refuses are not
 * present.
 */
export class BlobFile {
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
  /** How much of the content is recorded: not the latest, everything, or everything and synced. */
  #recorded: 'no' | 'yes' | 'synced' = 'synced';

  /** Opens the content of a directory, which is made if it does not exist. */
  static async open(path: string, room: Room, log: Log): Promise<BlobFile> {
    makeDirectory(path, 0o700);
    const boot = bootId();
    const record = await readRecord(join(path, 'record'), boot);
    const file = await open(join(path, 'data'), constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      const now = new Date();
      await file.utimes(now, now); // the time of the last use
      const { size: length } = await file.stat();
      const isWhole = record !== undefined && record.present.ranges.every(([, end]) => end <= length);
      if (!isWhole) await file.truncate(0);
      return new BlobFile(path, file, boot, isWhole ? record : undefined, room, log);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  private constructor(
    path: string,
    file: FileHandle,
    boot: string,
    record: BlobRecord | undefined,
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

  /** The size of the whole blob in bytes, once it is known. */
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

  /** Whether nothing is being fetched into it or waits for it. */
  get isIdle(): boolean {
    return this.#claims.size === 0 && this.#waiting.length === 0 && this.#queuedBytes === 0;
  }

  /** Whether new bytes are kept. */
  get takesMore(): boolean {
    return !this.#isClosed && performance.now() >= this.#failingUntilMs && this.#room.hasRoom();
  }

  /** Notes the size of the blob, as a registry told it. If it contradicts the content, the content is dropped. */
  learnSize(size: number): void {
    if (this.#size === size) return;
    const end = this.#present.ranges.at(-1)?.[1] ?? 0;
    if (this.#size !== undefined || end > size) this.drop();
    this.#size = size;
    this.#recorded = 'no';
  }

  /** The end of the present bytes from `position` on, without a gap. */
  endOf(position: number): number {
    return this.#present.endOf(position);
  }

  /** The end of the bytes from `position` on that are being fetched: `position` itself if that byte is not. */
  claimedUpTo(position: number): number {
    for (const { start, end } of this.#open) if (start <= position && position < end) return end;
    return position;
  }

  /** The first byte after `position` that is present or being fetched; infinity if there is none. */
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

  /** Keeps bytes of a claim. The caller must not change them afterwards. Does not wait for the disk. */
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

  /** Ends a claim: bytes of it that were not put are not being fetched any more. */
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

  /** Resolves when all bytes so far have been written, or could not be. */
  async written(): Promise<void> {
    for (const claim of this.#claims) this.#submit(claim);
    await this.#writing;
  }

  /** Resolves when bytes have arrived, or will not arrive any more. Rejects when the signal aborts. */
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

  /** The bytes [start, end), which must be present. Throws DataLoss if the file does not have them after all. */
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

  /** Forgets all bytes and the size, because something is wrong. Bytes that are being fetched are not kept either. */
  drop(): void {
    this.#generation++;
    this.#present.clear();
    this.#size = undefined;
    this.#recorded = 'no';
    this.#wake();
    if (this.#isClosed) return;
    this.#writing = this.#writing
      // Before another content can be mistaken for the recorded one.
      .then(() => rm(this.#recordPath, { force: true }))
      .then(() => this.#file.truncate(0))
      .catch((error: unknown) => this.#fail(error));
  }

  /**
   * Records what is here: until the machine stops, or, if nothing was added since the last call, permanently. Never
   * rejects: what is not recorded is fetched again in the next life.
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

  /** Closes the file without recording anything. */
  async abandon(): Promise<void> {
    this.#isClosed = true;
    await this.#writing;
    await this.#file.close();
  }

  /** Records everything and closes the file. From then on nothing can be read, and nothing is kept. */
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

  /** The claims on the present content. */
  get #open(): OpenClaim[] {
    return [...this.#claims].filter(({ generation }) => generation === this.#generation);
  }

  /** Hands the collected bytes of a claim to the disk. */
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
      if (bytesWritten < bytes) throw new LazypullError('ResourceExhausted', 'The disk did not take all bytes');
      if (generation !== this.#generation) return;
      this.#present.add(at, at + bytes);
      this.#recorded = 'no';
      this.#room.onGrowth();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Whether the bytes can be recorded without exceeding the number of ranges. */
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
