import { hash } from 'node:crypto';
import { erofs } from '../../src/fronts/erofs/front.ts';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { openZlib } from '../../src/kernel/zlib.ts';
import { openZstd } from '../../src/kernel/zstd.ts';
import { type Pulled, pullInto, type PullTarget } from '../../src/layers/pull/pull-into.ts';
import { type OpenTar, openTarStream, ringMemory, type TarStreamOptions } from '../../src/layers/pull/tar-stream.ts';
import { LayerDirectory } from '../../src/layers/store/layer-directory.ts';
import { inPieces } from './tar-builder.ts';

/** Where a pull of these bytes goes: a new directory below `parent`. */
export async function pullTarget(parent: string, blob: Buffer): Promise<PullTarget> {
  const digest = `sha256:${hash('sha256', blob)}`;
  const directory = new LayerDirectory(join(parent, `${hash('sha256', blob).slice(0, 16)}-${next++}`));
  await mkdir(directory.path, { recursive: true });
  const { paths, indexPath } = directory;
  return { digest, blobBytes: blob.length, indexPath, unsyncedBytes: Number.POSITIVE_INFINITY, ...paths };
}

let next = 0;

export interface PulledBlob extends Pulled {
  readonly target: PullTarget;
  /** The disk image as it is on the disk. */
  readonly image: Buffer;
}

type BlobOptions = Partial<Pick<TarStreamOptions, 'blob' | 'inflater' | 'frameDecoder' | 'check'>>;

/** Pulls a blob that comes in pieces of some length. */
export async function pullBlob(
  parent: string,
  content: Buffer,
  { pieceBytes = 1 << 20, ...options }: BlobOptions & { pieceBytes?: number } = {},
): Promise<PulledBlob> {
  const target = await pullTarget(parent, content);
  const check = options.check ?? ((): void => undefined);
  const blob = inPieces(content, pieceBytes);
  const decoders = { inflater: () => openZlib()!.inflater(), frameDecoder: () => openZstd()!.decoder() };
  const parts = { blob, ...decoders, check, memory: ringMemory(), ...options };
  const open: OpenTar = (events) => openTarStream(parts, events);
  const pulled = await pullInto(target, { open, check, front: erofs });
  return { ...pulled, target, image: await readDisk(target.diskPath, pulled) };
}

/** The disk image, without reading the hole before its data. */
async function readDisk(path: string, { diskBytes, metadataBytes, dataOffset }: Pulled): Promise<Buffer> {
  await using disk = await open(path);
  const image = Buffer.alloc(diskBytes);
  await disk.read(image, 0, metadataBytes, 0);
  if (diskBytes > dataOffset) await disk.read(image, dataOffset, diskBytes - dataOffset, dataOffset);
  return image;
}
