import { createHash } from 'node:crypto';
import { constants, crc32, deflateRawSync, gzipSync } from 'node:zlib';
import { type ChunkTable, chunkTable } from '../../src/chunks/chunk-table.ts';
import { LazypullError } from '../../src/errors.ts';
import type { Blob } from '../../src/registry/blob/blob.ts';

/**
 * Contents as a blob of gzip members, and the table that says where each lies in the blob and on the disk (4096-byte
 * aligned).
 */
export function chunkedBlob(contents: Buffer[]): { bytes: Buffer; table: ChunkTable; diskBytes: number } {
  const table = chunkTable(undefined, contents.length);
  const members = contents.map((content) => gzipSync(content));
  let blobOffset = 0;
  let diskOffset = 4096;
  for (const [row, content] of contents.entries()) {
    table.diskOffset[row] = diskOffset;
    table.size[row] = content.length;
    table.streamOffset[row] = blobOffset;
    blobOffset += members[row]!.length;
    table.streamEnd[row] = blobOffset;
    table.digest.set(createHash('sha256').update(content).digest(), row * 32);
    diskOffset += Math.ceil(content.length / 4096) * 4096;
  }
  return { bytes: Buffer.concat(members), table, diskBytes: diskOffset };
}

/** The same contents in one gzip member, of which the table says where each content ends. */
export function oneStreamBlob(contents: Buffer[]): { bytes: Buffer; table: ChunkTable; diskBytes: number } {
  const { table, diskBytes } = chunkedBlob(contents);
  const blocks = contents.map((content) => deflateRawSync(content, { finishFlush: constants.Z_SYNC_FLUSH }));
  const whole = Buffer.concat(contents);
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(whole), 0);
  trailer.writeUInt32LE(whole.length, 4);
  const header = gzipSync('').subarray(0, 10);
  const lastBlock = Buffer.from([3, 0]);
  let blobOffset = header.length;
  let innerOffset = 0;
  for (const [row, block] of blocks.entries()) {
    blobOffset += block.length;
    table.streamOffset[row] = 0;
    table.innerOffset[row] = innerOffset;
    table.streamEnd[row] = blobOffset;
    innerOffset += contents[row]!.length;
  }
  return { bytes: Buffer.concat([header, ...blocks, lastBlock, trailer]), table, diskBytes };
}

/** A blob in memory that counts its requests, and whose answers a test can spoil. */
export class FakeBlob implements Blob {
  readonly digest = `sha256:${'0'.repeat(64)}`;
  readonly requests: { start: number; end: number }[] = [];
  /** Called before each piece with its offset; a rejection ends the answer. */
  beforePiece: (offset: number) => Promise<void> = () => Promise.resolve();
  readonly #bytes: Buffer;
  readonly #pieceBytes: number;
  /** Called when bytes were wrong: true for another source. */
  distrust: (askedMs: number) => Promise<boolean> = () => Promise.resolve(false);

  constructor(bytes: Buffer, pieceBytes = 16384) {
    this.#bytes = bytes;
    this.#pieceBytes = pieceBytes;
  }

  tail(bytes: number): Promise<{ data: Buffer; size: number }> {
    return Promise.resolve({ data: this.#bytes.subarray(-bytes), size: this.#bytes.length });
  }

  describe(): Promise<{ size: number; takesRanges: boolean }> {
    return Promise.resolve({ size: this.#bytes.length, takesRanges: true });
  }

  async *ranges(
    parts: readonly { start: number; end: number }[],
    signal?: AbortSignal,
  ): AsyncGenerator<{ part: number; data: Buffer }> {
    for (const [part, { start, end }] of parts.entries()) {
      for await (const data of this.range(start, end, signal)) yield { part, data };
    }
  }

  async *range(start: number, end: number, signal?: AbortSignal): AsyncGenerator<Buffer> {
    this.requests.push({ start, end });
    for (let at = start; at < end; at += this.#pieceBytes) {
      await this.beforePiece(at);
      if (signal?.aborted) throw new LazypullError('Canceled', 'Aborted');
      yield this.#bytes.subarray(at, Math.min(at + this.#pieceBytes, end));
    }
  }
}
