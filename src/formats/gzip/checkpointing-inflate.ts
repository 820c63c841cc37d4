import { crc32 } from 'node:zlib';
import { LazypullError } from '../../errors.ts';
import { type Checkpoint, memberSpanBytes, spanBytes, spanKinds } from '../blob-spans.ts';
import type { Inflater } from './inflater.ts';
import { MemberHeader } from './member-header.ts';
import { WindowProbe } from './window-probe.ts';

/** CRC-32 and length (RFC 1952, 2.3). */
const trailerBytes = 8;

const none = Buffer.alloc(0);

/** What a step has read and written, and the checkpoint at which it ended: all output so far comes before that. */
export interface CheckpointingStep {
  readonly consumed: number;
  readonly produced: number;
  readonly checkpoint: Checkpoint | undefined;
}

/**
 * Inflates a gzip blob of one or many members into memory of the caller, and reports the places where reading can
 * begin. Checksums and lengths are checked. Zeros after the last member are skipped, as in gzip and pigz; other data
 * there is an error, as in Go.
 */
export class CheckpointingInflate implements Disposable {
  readonly #inflater: Inflater;
  readonly #probeInflater: Inflater;
  #probe: WindowProbe | undefined;
  /** The last inflated byte of the blob: some of its bits may belong to what follows. */
  #lastByte = 0;
  readonly #spanBytes: number;
  readonly #memberSpanBytes: number;
  #state: 'header' | 'body' | 'trailer' | 'between' | 'zeros' = 'header';
  #header = new MemberHeader();
  readonly #trailer = Buffer.alloc(trailerBytes);
  #trailerRead = 0;
  #crc = 0;
  #memberBytes = 0;
  #blobBytes = 0;
  #outputBytes = 0;
  #dataEnd = 0;
  /** Output before the last checkpoint. */
  #spanStart = 0;

  /**
   * @param inflater is disposed of with this
   * @param options `spanBytes`, `memberSpanBytes`: the least output between two checkpoints, of each kind
   */
  constructor(inflater: Inflater, options: { spanBytes?: number; memberSpanBytes?: number } = {}) {
    this.#inflater = inflater;
    this.#probeInflater = inflater.another();
    this.#spanBytes = options.spanBytes ?? spanBytes;
    this.#memberSpanBytes = options.memberSpanBytes ?? Math.min(memberSpanBytes, this.#spanBytes);
  }

  /** How much of the blob was read. */
  get blobBytes(): number {
    return this.#blobBytes;
  }

  /** How much of the blob suffices for all that was put out. */
  get sufficientBytes(): number {
    return this.#blobBytes;
  }

  get outputBytes(): number {
    return this.#outputBytes;
  }

  /**
   * Reads input[at …] and writes output[from …]. Returns if the input is used up, if the output is full, or at a
   * checkpoint. Output after the produced bytes may be overwritten. The window of a checkpoint changes later: once
   * there are 32 KiB more of output, bytes that nothing refers to become zero. The start of the blob is no checkpoint.
   * A step that fills the output may have more output for the same input.
   *
   * @throws DataLoss for damaged data
   */
  step(input: Uint8Array, at: number, output: Uint8Array, from: number): CheckpointingStep {
    let next = at;
    let end = from;
    let checkpoint: Checkpoint | undefined;
    while (checkpoint === undefined && (next < input.length || this.#state === 'body')) {
      if (this.#state === 'body') {
        if (end === output.length) break;
        const step = this.#inflate(input, next, output, end);
        checkpoint = step.checkpoint;
        next += step.consumed;
        end += step.produced;
        if (step.consumed === 0 && step.produced === 0 && next === input.length && !step.isAtEnd) break;
      } else if (this.#state === 'between') {
        checkpoint = this.#startMember(input[next]!);
      } else {
        const consumed = this.#takeFraming(input, next);
        next += consumed;
        this.#blobBytes += consumed;
      }
    }
    return { consumed: next - at, produced: end - from, checkpoint };
  }

  /**
   * To be called after the last input. @returns `dataEnd`: the byte of the blob after the last member. @throws DataLoss
   * if something is missing
   */
  end(): { dataEnd: number } {
    if (this.#state !== 'between' && this.#state !== 'zeros') throw damaged('it is cut off');
    return { dataEnd: this.#dataEnd };
  }

  [Symbol.dispose](): void {
    this.#inflater[Symbol.dispose]();
    this.#probeInflater[Symbol.dispose]();
  }

  #inflate(input: Uint8Array, at: number, output: Uint8Array, from: number) {
    const left = this.#spanStart + this.#spanBytes - this.#outputBytes;
    const until = left > 0 ? Math.min(output.length, from + left) : output.length;
    const { consumed, produced, stop, unusedBits } = this.#inflater.step(input, at, output, from, until, left <= 0);
    this.#crc = crc32(output.subarray(from, from + produced), this.#crc);
    this.#memberBytes += produced;
    this.#outputBytes += produced;
    this.#blobBytes += consumed;
    if (consumed > 0) this.#lastByte = input[at + consumed - 1]!;
    const isProbed = this.#probe?.take(input.subarray(at, at + consumed), produced) ?? false;
    if (isProbed || stop === 'end') this.#endProbe(stop === 'end');
    if (stop === 'end') this.#state = 'trailer';
    const isCheckpoint = stop === 'block' && this.#memberBytes > 0;
    const checkpoint = isCheckpoint ? this.#checkpoint(unusedBits, this.#inflater.window()) : undefined;
    if (checkpoint !== undefined) this.#probe = new WindowProbe(checkpoint.window, checkpoint.bits, this.#lastByte);
    return { consumed, produced, checkpoint, isAtEnd: stop === 'end' };
  }

  #endProbe(isEnd: boolean): void {
    this.#probe?.clear(this.#probeInflater, isEnd);
    this.#probe = undefined;
  }

  #checkpoint(unusedBits: number, window: Uint8Array): Checkpoint {
    this.#spanStart = this.#outputBytes;
    return {
      kind: window.length === 0 ? spanKinds.header : spanKinds.window,
      blobOffset: this.#blobBytes - (unusedBits > 0 ? 1 : 0),
      bits: (8 - unusedBits) % 8,
      outputOffset: this.#outputBytes,
      window,
    };
  }

  /** Handles the data after a member, whose first byte is `byte`. */
  #startMember(byte: number): Checkpoint | undefined {
    if (byte === 0) {
      this.#state = 'zeros';
      return undefined;
    }
    this.#state = 'header';
    this.#header = new MemberHeader();
    return this.#outputBytes - this.#spanStart >= this.#memberSpanBytes ? this.#checkpoint(0, none) : undefined;
  }

  #takeFraming(input: Uint8Array, at: number): number {
    if (this.#state === 'header') return this.#takeHeader(input, at);
    if (this.#state === 'trailer') return this.#takeTrailer(input, at);
    let end = at;
    while (end < input.length && input[end] === 0) end++;
    if (end < input.length) throw damaged('there is data after the zeros that end it');
    return end - at;
  }

  #takeHeader(input: Uint8Array, at: number): number {
    const consumed = this.#header.take(input, at);
    if (this.#header.isDone) {
      this.#inflater.reset();
      this.#crc = 0;
      this.#memberBytes = 0;
      this.#trailerRead = 0;
      this.#state = 'body';
    }
    return consumed;
  }

  #takeTrailer(input: Uint8Array, at: number): number {
    const part = input.subarray(at, at + trailerBytes - this.#trailerRead);
    this.#trailer.set(part, this.#trailerRead);
    this.#trailerRead += part.length;
    if (this.#trailerRead < trailerBytes) return part.length;
    if (this.#trailer.readUInt32LE(0) !== this.#crc) throw damaged('the checksum of a member does not match');
    if (this.#trailer.readUInt32LE(4) !== this.#memberBytes % 2 ** 32) throw damaged('the length of a member is wrong');
    this.#state = 'between';
    this.#dataEnd = this.#blobBytes + part.length;
    return part.length;
  }
}

function damaged(what: string): LazypullError {
  return new LazypullError('DataLoss', `The gzip data is damaged: ${what}`);
}
