import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { RangedBlob } from './laziness.ts';

/** A blob in a file, read by ranges. Nothing of it is verified. */
export class FileBlob implements RangedBlob {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async tail(bytes: number): Promise<{ data: Buffer; size: number }> {
    await using file = await open(this.#path);
    const { size } = await file.stat();
    const length = Math.min(bytes, size);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    return { data: buffer.subarray(0, bytesRead), size };
  }

  range(start: number, end: number, signal?: AbortSignal): AsyncIterable<Buffer> {
    return createReadStream(this.#path, { start, end: end - 1, signal }) as AsyncIterable<Buffer>;
  }
}
