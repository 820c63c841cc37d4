import { closeSync, openSync, statfsSync, writeSync } from 'node:fs';
import { LazypullError, spaceHint } from '../../errors.ts';
import { writeBack } from '../../kernel/writeback.ts';
import { freeCheckBytes, keepFreeBytes } from './pull-bounds.ts';

/** Small files are collected up to this size. */
const stageBytes = 1 << 20;

/** Longer pieces are written directly. */
const directBytes = 64 << 10;

/**
 * Writes the data of a layer's files to its disk image, one file after another, each from a block's start on, with few
 * large system calls. Long runs of zeros stay holes.
 */
export class ImageWriter implements Disposable {
  readonly #path: string;
  readonly #stage = Buffer.allocUnsafeSlow(stageBytes);
  /** The offset of the stage's first byte, and how many bytes are in it. */
  #stageOffset: number;
  #staged = 0;
  #position: number;
  readonly #blockBytes: number;
  readonly #maxUnsyncedBytes: number;
  #uncheckedBytes = 0;
  #unsyncedBytes = 0;
  readonly fd: number;

  /**
   * @param start where the first file may begin; a multiple of `blockBytes`
   * @param blockBytes each file begins at a multiple of this
   * @param maxUnsyncedBytes how much is written before the kernel has to bring it to the disk
   */
  constructor(path: string, start: number, blockBytes: number, maxUnsyncedBytes: number) {
    this.#path = path;
    this.#blockBytes = blockBytes;
    this.#maxUnsyncedBytes = maxUnsyncedBytes;
    this.fd = openSync(path, 'wx', 0o600);
    this.#position = this.#stageOffset = start;
    this.#checkSpace();
  }

  /** Starts a file. @returns the offset of its first byte */
  begin(): number {
    const start = Math.ceil(this.#position / this.#blockBytes) * this.#blockBytes;
    this.seek(start);
    return start;
  }

  /** The next bytes are for `position`, which must not be before the present one: the gap is a hole. */
  seek(position: number): void {
    const gap = position - this.#position;
    if (this.#staged > 0 && gap > 0 && gap < this.#blockBytes && this.#staged + gap <= stageBytes) {
      this.#stage.fill(0, this.#staged, this.#staged + gap);
      this.#staged += gap;
    } else if (gap > 0) {
      this.flush();
      this.#stageOffset = position;
    }
    this.#position = position;
  }

  /** @throws ResourceExhausted if the disk is full, or would be soon */
  write(data: Buffer): void {
    if (data.length >= directBytes) {
      this.flush();
      if (!isZeros(data)) this.#write(data, this.#position);
      this.#position += data.length;
      this.#stageOffset = this.#position;
      return;
    }
    if (this.#staged + data.length > stageBytes) this.flush();
    data.copy(this.#stage, this.#staged);
    this.#staged += data.length;
    this.#position += data.length;
  }

  /** Writes the collected bytes. */
  flush(): void {
    if (this.#staged > 0) this.#write(this.#stage.subarray(0, this.#staged), this.#stageOffset);
    this.#stageOffset += this.#staged;
    this.#staged = 0;
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }

  #write(data: Buffer, position: number): void {
    for (let done = 0; done < data.length; ) {
      const written = writeSync(this.fd, data, done, data.length - done, position + done);
      if (written === 0) throw new LazypullError('ResourceExhausted', 'The disk took no bytes');
      done += written;
    }
    this.#uncheckedBytes += data.length;
    if (this.#uncheckedBytes >= freeCheckBytes) this.#checkSpace();
    this.#unsyncedBytes += data.length;
    if (this.#unsyncedBytes < this.#maxUnsyncedBytes) return;
    this.#unsyncedBytes = 0;
    writeBack(this.fd);
  }

  #checkSpace(): void {
    this.#uncheckedBytes = 0;
    const { bavail, bsize } = statfsSync(this.#path);
    if (bavail * bsize >= keepFreeBytes) return;
    throw new LazypullError('ResourceExhausted', `There is no space left on the disk for the layer: "${this.#path}"`, {
      hint: spaceHint,
    });
  }
}

const zeros = Buffer.alloc(directBytes);

function isZeros(data: Buffer): boolean {
  if (data[0] !== 0 || data.at(-1) !== 0) return false;
  for (let at = 0; at < data.length; at += zeros.length) {
    const piece = data.subarray(at, at + zeros.length);
    if (piece.compare(zeros, 0, piece.length) !== 0) return false;
  }
  return true;
}
