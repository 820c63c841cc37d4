import { hash } from 'node:crypto';
import { setImmediate, setTimeout as delay } from 'node:timers/promises';
import { LazypullError } from '../../src/errors.ts';
import type { Blob } from '../../src/registry/blob/blob.ts';

/** A blob that is in memory, whose answers a test can delay and spoil. */
export class MemoryBlob implements Blob {
  static readonly pieceBytes = 64 << 10;

  readonly digest: string;
  /** What is served: a test may put something else in its place. */
  content: Buffer;
  /** How long the answer takes that starts at a byte. */
  delayMs: (start: number) => number = () => 0;
  /** Byte at which an answer breaks off. */
  failAt = Number.POSITIVE_INFINITY;
  /** What is served after something was wrong. */
  better: Buffer | undefined;
  takesRanges = true;
  requests = 0;
  underWay = 0;
  mostAtOnce = 0;

  constructor(content: Buffer) {
    this.content = content;
    this.digest = `sha256:${hash('sha256', content)}`;
  }

  async tail(bytes: number, signal?: AbortSignal, onBytes?: () => void): Promise<{ data: Buffer; size: number }> {
    const size = this.content.length;
    const data: Buffer[] = [];
    for await (const piece of this.range(Math.max(0, size - bytes), size, signal)) {
      data.push(piece);
      onBytes?.();
    }
    return { data: Buffer.concat(data), size };
  }

  describe(): Promise<{ size: number; takesRanges: boolean }> {
    return Promise.resolve({ size: this.content.length, takesRanges: this.takesRanges });
  }

  async *range(start: number, end: number, signal?: AbortSignal): AsyncGenerator<Buffer> {
    if (start > 0 && !this.takesRanges) throw new LazypullError('FailedPrecondition', 'There are no ranges');
    this.requests++;
    this.underWay++;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.underWay);
    const { content } = this;
    try {
      await delay(this.delayMs(start), undefined, { signal }).catch(() => undefined);
      for (let at = start; at < end; at += MemoryBlob.pieceBytes) {
        await setImmediate();
        signal?.throwIfAborted();
        const pieceEnd = Math.min(at + MemoryBlob.pieceBytes, end);
        if (pieceEnd > this.failAt) throw new Error('There is no more');
        yield Buffer.from(content.subarray(at, pieceEnd));
      }
    } finally {
      this.underWay--;
    }
  }

  async *ranges(
    parts: readonly { readonly start: number; readonly end: number }[],
    signal?: AbortSignal,
  ): AsyncGenerator<{ part: number; data: Buffer }> {
    for (const [part, { start, end }] of parts.entries()) {
      for await (const data of this.range(start, end, signal)) yield { part, data };
    }
  }

  distrust(): Promise<boolean> {
    if (this.better === undefined) return Promise.resolve(false);
    this.content = this.better;
    this.better = undefined;
    return Promise.resolve(true);
  }
}
