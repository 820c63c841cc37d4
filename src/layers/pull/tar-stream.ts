import { createHash } from 'node:crypto';
import { compressionOf, decompress, magicBytes } from '../../formats/decompress.ts';
import { CheckpointingInflate } from '../../formats/gzip/checkpointing-inflate.ts';
import type { Inflater } from '../../formats/gzip/inflater.ts';
import type { Checkpoint, Compression } from '../../formats/spans.ts';
import { ByteReader } from '../../formats/tar/byte-reader.ts';

/** What is put out at a time: it stays in the processor's cache until it has been hashed and written. */
export const pieceBytes = 256 << 10;

/** The tar in a blob as it is decompressed. */
export interface TarStream {
  readonly compression: Compression;
  /**
   * Pieces of the tar, none of which crosses a checkpoint. A piece is good until the one after the next is asked for.
   */
  readonly pieces: AsyncIterable<Buffer>;
  /** Why no checkpoints are found on the way; undefined if they are: then the blob can be indexed. */
  readonly noCheckpoints: string | undefined;
  /** What was read, once all pieces have come. */
  readonly end: () => BlobEnd;
}

/** What is known of a blob once all of it has been read. */
export interface BlobEnd {
  /** sha256 in hex. */
  readonly hash: string;
  readonly bytes: number;
  /** The byte after the last compressed one. */
  readonly dataEnd: number;
}

/** Gives a tar, and tells of each checkpoint but the first before the first piece behind it. */
export type OpenTar = (onCheckpoint: (checkpoint: Checkpoint) => void) => Promise<TarStream>;

export interface TarStreamOptions {
  /** Pieces of the blob, each good until the next one is asked for. */
  readonly blob: AsyncIterable<Buffer>;
  /** Undefined if no zlib can be called: then there are no checkpoints. */
  readonly inflater: (() => Inflater) | undefined;
  /** Throws when the pull is to end. Called for each piece of the blob. */
  readonly check: () => void;
  /** Gives memory of `pieceBytes` for the next piece that is inflated. */
  readonly memory: () => Buffer | Promise<Buffer>;
}

/** Begins to decompress a blob. All of it is read before the pieces end. */
export async function openTarStream(
  { blob, inflater, check, memory }: TarStreamOptions,
  onCheckpoint: (checkpoint: Checkpoint) => void,
): Promise<TarStream> {
  const blobHash = createHash('sha256');
  let bytes = 0;
  let dataEnd: number | undefined;
  const note = (data: Buffer): void => {
    check();
    blobHash.update(data);
    bytes += data.length;
  };
  const reader = new ByteReader(noted(blob, note));
  const head = Buffer.from(await reader.read(magicBytes));
  const compression = compressionOf(head);
  const rest = reader.rest(head, Number.MAX_SAFE_INTEGER);
  const end = (): BlobEnd => ({ hash: blobHash.digest('hex'), bytes, dataEnd: dataEnd ?? bytes });
  if (compression === 'gzip' && inflater !== undefined) {
    const onEnd = (at: number): void => {
      dataEnd = at;
    };
    const pieces = inflated(rest, inflater, memory, onCheckpoint, onEnd);
    return { compression, pieces, noCheckpoints: undefined, end };
  }
  // What is decompressed by streams of Node is read ahead of.
  return { compression, pieces: decompress(copied(rest)), noCheckpoints: problems[compression], end };
}

/** Memory for pieces that are used up one after another. */
export function ringMemory(): () => Buffer {
  const slots = 3;
  const memory = Buffer.allocUnsafeSlow(slots * pieceBytes);
  let next = 0;
  return () => {
    const slot = next++ % slots;
    return memory.subarray(slot * pieceBytes, (slot + 1) * pieceBytes);
  };
}

const problems: Readonly<Record<Compression, string | undefined>> = {
  none: undefined,
  gzip: 'this machine has no zlib that can be called',
  zstd: 'zstd can be read from its start only',
};

async function* inflated(
  blob: AsyncIterable<Buffer>,
  inflater: () => Inflater,
  memory: () => Buffer | Promise<Buffer>,
  onCheckpoint: (checkpoint: Checkpoint) => void,
  onEnd: (dataEnd: number) => void,
): AsyncGenerator<Buffer> {
  using inflate = new CheckpointingInflate(inflater());
  let output = await memory();
  let filled = 0;
  for await (const input of blob) {
    for (let at = 0, isFull = false; at < input.length || isFull; ) {
      const { consumed, produced, checkpoint } = inflate.step(input, at, output, filled);
      at += consumed;
      filled += produced;
      isFull = filled === output.length;
      if (isFull || (checkpoint !== undefined && filled > 0)) {
        yield output.subarray(0, filled);
        output = await memory();
        filled = 0;
      }
      if (checkpoint !== undefined) onCheckpoint(checkpoint);
    }
  }
  if (filled > 0) yield output.subarray(0, filled);
  onEnd(inflate.end().dataEnd);
}

async function* noted(blob: AsyncIterable<Buffer>, note: (data: Buffer) => void): AsyncGenerator<Buffer> {
  for await (const data of blob) {
    note(data);
    yield data;
  }
}

async function* copied(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const data of source) yield Buffer.from(data);
}
