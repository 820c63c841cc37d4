import { LazypullError } from '../../errors.ts';
import { type Checkpoint, memberSpanBytes, spanKinds } from '../blob-spans.ts';
import type { FrameDecoder } from './frame-decoder.ts';

const none = Buffer.alloc(0);

/**
 * Decompresses a zstd blob of one or many frames into memory of the caller, and notes on the way at which frames one
 * can begin to read it.
 */
export class CheckpointingFrames implements Disposable {
  readonly #decoder: FrameDecoder;
  readonly #spanBytes: number;
  /** Whether what comes next is a frame. */
  #isBetween = true;
  #blobBytes = 0;
  #outputBytes = 0;
  /** Output before the last checkpoint. */
  #spanStart = 0;

  /**
   * @param decoder it is disposed of with this.
   *
   * @param options `memberSpanBytes`: how much is put out between two checkpoints at least
   */
  constructor(decoder: FrameDecoder, options: { memberSpanBytes?: number } = {}) {
    this.#decoder = decoder;
    this.#spanBytes = options.memberSpanBytes ?? memberSpanBytes;
  }

  /** How much of the blob was read. */
  get blobBytes(): number {
    return this.#blobBytes;
  }

  /**
   * How much of the blob suffices for all that was put out: the decoder keeps the last byte of a frame back until all
   * of it was put out.
   */
  get sufficientBytes(): number {
    return this.#blobBytes + (this.#isBetween ? 0 : 1);
  }

  get outputBytes(): number {
    return this.#outputBytes;
  }

  /** As `CheckpointingInflate.step`. @throws DataLoss for what is damaged */
  step(
    input: Uint8Array,
    at: number,
    output: Uint8Array,
    from: number,
  ): { consumed: number; produced: number; checkpoint: Checkpoint | undefined } {
    let next = at;
    let end = from;
    while (end < output.length) {
      if (this.#isBetween) {
        if (next === input.length) break;
        this.#isBetween = false;
        if (this.#outputBytes - this.#spanStart >= this.#spanBytes)
          return { consumed: next - at, produced: end - from, checkpoint: this.#checkpoint() };
      }
      const { consumed, produced, isFrameEnd } = this.#decoder.step(input, next, output, end);
      next += consumed;
      end += produced;
      this.#blobBytes += consumed;
      this.#outputBytes += produced;
      this.#isBetween = isFrameEnd;
      if (!isFrameEnd && consumed === 0 && produced === 0) break;
    }
    return { consumed: next - at, produced: end - from, checkpoint: undefined };
  }

  /**
   * To be called after the last input.
   *
   * @throws DataLoss if something is missing.
   * @returns `dataEnd`: the byte of the blob after the last frame
   */
  end(): { dataEnd: number } {
    if (!this.#isBetween || this.#blobBytes === 0) {
      throw new LazypullError('DataLoss', 'The zstd data is damaged: it is cut off');
    }
    return { dataEnd: this.#blobBytes };
  }

  [Symbol.dispose](): void {
    this.#decoder[Symbol.dispose]();
  }

  #checkpoint(): Checkpoint {
    this.#spanStart = this.#outputBytes;
    return {
      kind: spanKinds.header,
      blobOffset: this.#blobBytes,
      bits: 0,
      outputOffset: this.#outputBytes,
      window: none,
    };
  }
}
