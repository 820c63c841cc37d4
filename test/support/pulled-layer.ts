import { hash } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { openZlib } from '../../src/kernel/zlib.ts';
import { type Pulled, pullInto, type PullParts, type PullTarget } from '../../src/layers/pull/pull-into.ts';
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

/** Pulls a blob that comes in pieces of some length. */
export async function pullBlob(
  parent: string,
  blob: Buffer,
  { pieceBytes = 1 << 20, ...parts }: Partial<PullParts> & { pieceBytes?: number } = {},
): Promise<PulledBlob> {
  const target = await pullTarget(parent, blob);
  const inflater = (): ReturnType<NonNullable<PullParts['inflater']>> => openZlib()!.inflater();
  const check = (): void => undefined;
  const pulled = await pullInto(target, { blob: inPieces(blob, pieceBytes), inflater, check, ...parts });
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
