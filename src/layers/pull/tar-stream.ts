import { compressionOf, decompress, magicBytes } from '../../formats/decompress.ts';
import { CheckpointingInflate } from '../../formats/gzip/checkpointing-inflate.ts';
import type { Inflater } from '../../formats/gzip/inflater.ts';
import type { Checkpoint, Compression } from '../../formats/spans.ts';
import { ByteReader } from '../../formats/tar/byte-reader.ts';

/** What is put out at a time: it stays in the processor's cache until it has been hashed and written. */
const pieceBytes = 256 << 10;

/** A piece is good until the one after the next is asked for. */
const pieces = 3;

/** The tar in a blob as it is decompressed. */
export interface TarStream {
  readonly compression: Compression;
  /** Pieces of the tar, none of which crosses a checkpoint. A piece is good until the one after the next is asked for. */
  readonly pieces: AsyncIterable<Buffer>;
  /** Why no checkpoints are found on the way; undefined if they are: then the blob can be indexed. */
  readonly noCheckpoints: string | undefined;
  /** The byte of the blob after the last compressed one, once all pieces have come. */
  readonly dataEnd: () => number;
}

export interface TarStreamOptions {
  /** Pieces of the blob, each good until the next one is asked for. */
  readonly blob: AsyncIterable<Buffer>;
  readonly blobBytes: number;
  /** Undefined if no zlib can be called: then there are no checkpoints. */
  readonly inflater: (() => Inflater) | undefined;
  /** Called before the first piece behind each checkpoint but the first. */
  readonly onCheckpoint: (checkpoint: Checkpoint) => void;
}

/** Begins to decompress a blob. All of it is read before the pieces end. */
export async function openTarStream({ blob, blobBytes, inflater, onCheckpoint }: TarStreamOptions): Promise<TarStream> {
  const reader = new ByteReader(blob);
  const head = Buffer.from(await reader.read(magicBytes));
  const compression = compressionOf(head);
  const rest = reader.rest(head, Number.MAX_SAFE_INTEGER);
  if (compression === 'gzip' && inflater !== undefined) {
    const end = { dataEnd: blobBytes };
    const found = inflated(rest, inflater, onCheckpoint, end);
    return { compression, pieces: found, noCheckpoints: undefined, dataEnd: () => end.dataEnd };
  }
  // What is decompressed by streams of Node is read ahead of.
  const found = decompress(copied(rest));
  return { compression, pieces: found, noCheckpoints: problems[compression], dataEnd: () => blobBytes };
}

const problems: Readonly<Record<Compression, string | undefined>> = {
  none: undefined,
  gzip: 'this machine has no zlib that can be called',
  zstd: 'zstd can be read from its start only',
};

async function* inflated(
  blob: AsyncIterable<Buffer>,
  inflater: () => Inflater,
  onCheckpoint: (checkpoint: Checkpoint) => void,
  end: { dataEnd: number },
): AsyncGenerator<Buffer> {
  using inflate = new CheckpointingInflate(inflater());
  const memory = Buffer.allocUnsafeSlow(pieces * pieceBytes);
  let piece = 0;
  let filled = 0;
  for await (const input of blob) {
    for (let at = 0, isFull = false; at < input.length || isFull; ) {
      const output = memory.subarray(piece * pieceBytes, (piece + 1) * pieceBytes);
      const { consumed, produced, checkpoint } = inflate.step(input, at, output, filled);
      at += consumed;
      filled += produced;
      isFull = filled === pieceBytes;
      if (!isFull && checkpoint === undefined) continue;
      if (filled > 0) yield output.subarray(0, filled);
      if (checkpoint !== undefined) onCheckpoint(checkpoint);
      piece = (piece + 1) % pieces;
      filled = 0;
    }
  }
  if (filled > 0) yield memory.subarray(piece * pieceBytes, piece * pieceBytes + filled);
  end.dataEnd = inflate.end().dataEnd;
}

async function* copied(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const data of source) yield Buffer.from(data);
}
