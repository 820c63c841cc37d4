import { createHash } from 'node:crypto';
import { compressionOf, decompress, magicBytes } from '../../formats/decompress.ts';
import { CheckpointingInflate } from '../../formats/gzip/checkpointing-inflate.ts';
import type { Inflater } from '../../formats/gzip/inflater.ts';
import { CheckpointingFrames } from '../../formats/zstd/checkpointing-frames.ts';
import type { FrameDecoder } from '../../formats/zstd/frame-decoder.ts';
import type { Checkpoint, Compression } from '../../formats/blob-spans.ts';
import { ByteReader } from '../../formats/tar/byte-reader.ts';

/** Bytes of a piece: it stays in the processor's cache until it has been hashed and written. */
export const pieceBytes = 256 << 10;

/** How much of the tar lies between two marks. What is read of a blob for a chunk ends at the mark behind it. */
const markBytes = 32 << 10;

/** A place in the tar for which all of the blob before `blobOffset` suffices. */
export interface Mark {
  readonly outputOffset: number;
  readonly blobOffset: number;
}

/** What is told of a blob on the way. */
export interface StreamEvents {
  /** A checkpoint that is not the first, before the first piece behind it. */
  readonly onCheckpoint: (checkpoint: Checkpoint) => void;
  /**
   * Marks in the order of the blob, each before the piece that ends there or behind. There is one at the end of each
   * piece, if there are checkpoints and the blob is compressed.
   */
  readonly onMark: (mark: Mark) => void;
}

/** The tar in a blob, while it is decompressed. */
export interface TarStream {
  readonly compression: Compression;
  /** Pieces of the tar, none of which crosses a checkpoint. A piece is valid until the second next one is requested. */
  readonly pieces: AsyncIterable<Buffer>;
  /** Why no checkpoints are found; undefined if they are: then the blob can be indexed. */
  readonly noCheckpoints: string | undefined;
  /** The properties of the blob, after all pieces. */
  readonly end: () => BlobEnd;
}

/** The properties of a blob that has been read completely. */
export interface BlobEnd {
  /** sha256 in hex. */
  readonly hash: string;
  readonly bytes: number;
  /** The byte after the last compressed one. */
  readonly dataEnd: number;
}

/** Gives a tar, and tells of what is found on the way. */
export type OpenTar = (events: StreamEvents) => Promise<TarStream>;

export interface TarStreamOptions {
  /** Pieces of the blob, each valid until the next one is requested. */
  readonly blob: AsyncIterable<Buffer>;
  /** Undefined if no zlib can be called: then gzip has no checkpoints. */
  readonly inflater: (() => Inflater) | undefined;
  /** The same of zstd. */
  readonly frameDecoder: (() => FrameDecoder) | undefined;
  /** Throws if the pull must end. Called for each piece of the blob. */
  readonly check: () => void;
  /** Provides memory of `pieceBytes` for the next inflated piece. */
  readonly memory: () => Buffer | Promise<Buffer>;
}

/** Begins to decompress a blob. The blob is read completely before the pieces end. */
export async function openTarStream(
  { blob, inflater, frameDecoder, check, memory }: TarStreamOptions,
  events: StreamEvents,
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
  const decoder = decoderOf(compression, inflater, frameDecoder);
  if (decoder !== undefined) {
    const onEnd = (at: number): void => {
      dataEnd = at;
    };
    const pieces = decompressed(rest, decoder, memory, events, onEnd);
    return { compression, pieces, noCheckpoints: undefined, end };
  }
  // Decompressing streams of Node read ahead.
  return { compression, pieces: decompress(copied(rest)), noCheckpoints: problems[compression], end };
}

/** Memory for pieces that are used one after another. */
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
  zstd: 'this Node has no zstd that can be called',
};

/** `CheckpointingInflate` or `CheckpointingFrames`. */
type Decoder = Pick<CheckpointingInflate, 'step' | 'end' | 'sufficientBytes' | 'outputBytes'> & Disposable;

function decoderOf(
  compression: Compression,
  inflater: (() => Inflater) | undefined,
  frameDecoder: (() => FrameDecoder) | undefined,
): (() => Decoder) | undefined {
  if (compression === 'gzip' && inflater !== undefined) return () => new CheckpointingInflate(inflater());
  if (compression === 'zstd' && frameDecoder !== undefined) return () => new CheckpointingFrames(frameDecoder());
  return undefined;
}

async function* decompressed(
  blob: AsyncIterable<Buffer>,
  open: () => Decoder,
  memory: () => Buffer | Promise<Buffer>,
  { onCheckpoint, onMark }: StreamEvents,
  onEnd: (dataEnd: number) => void,
): AsyncGenerator<Buffer> {
  using decoder = open();
  const mark = (): void => onMark({ outputOffset: decoder.outputBytes, blobOffset: decoder.sufficientBytes });
  let output = await memory();
  let filled = 0;
  for await (const input of blob) {
    for (let at = 0, isFull = false; at < input.length || isFull; ) {
      const part = output.subarray(0, filled + markBytes - (filled % markBytes));
      const { consumed, produced, checkpoint } = decoder.step(input, at, part, filled);
      at += consumed;
      filled += produced;
      isFull = filled === part.length;
      const isWhole = filled === output.length || (checkpoint !== undefined && filled > 0);
      if (isFull || isWhole) mark();
      if (isWhole) {
        yield output.subarray(0, filled);
        output = await memory();
        filled = 0;
      }
      if (checkpoint !== undefined) onCheckpoint(checkpoint);
    }
  }
  if (filled > 0) {
    mark();
    yield output.subarray(0, filled);
  }
  onEnd(decoder.end().dataEnd);
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
