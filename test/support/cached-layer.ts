import { hash, randomBytes } from 'node:crypto';
import { mkdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { layerPath } from '../../src/chunks/layer-id.ts';
import { LayerDirectory, type LayerRecord, recordVersion } from '../../src/layers/store/layer-directory.ts';
import { chunkedBlob } from './chunked-blob.ts';

const mib = 1 << 20;

/** The TOC digest of all layers of `cachedLayer`. */
export const cachedTocDigest = `sha256:${'e'.repeat(64)}`;

/** The digest of a layer that is called by a single hex digit. */
export const cachedDigest = (name: string): string => `sha256:${name.repeat(64)}`;

/**
 * Makes the files of a layer below a root as a daemon leaves them: four parts of 1 MiB, the last of which is not there.
 */
export async function cachedLayer(root: string, name: string, usedMs: number): Promise<LayerDirectory> {
  const id = { digest: cachedDigest(name), index: cachedTocDigest };
  const directory = new LayerDirectory(join(root, 'layers', layerPath(id)));
  await mkdir(directory.path, { recursive: true });
  const contents = Array.from({ length: 4 }, () => randomBytes(mib));
  const { table, bytes, diskBytes } = chunkedBlob(contents);
  const disk = Buffer.alloc(diskBytes);
  for (const [row, content] of contents.entries()) content.copy(disk, table.diskOffset[row]);
  await writeFile(directory.diskPath, disk);
  await writeFile(directory.tablePath, new Uint8Array(table.digest.buffer));
  for (const path of [directory.hintsPath, directory.stackingPath, directory.pathsPath]) await writeFile(path, '');
  const record: LayerRecord = {
    version: recordVersion,
    digest: id.digest,
    indexDigest: id.index,
    format: 'estargz',
    front: 'erofs',
    reference: 'r.example/a:1',
    blobBytes: bytes.length,
    diskBytes,
    metadataBytes: 4096,
    chunks: 4,
    sums: {
      metadata: hash('sha256', disk.subarray(0, 4096)),
      table: hash('sha256', new Uint8Array(table.digest.buffer)),
      hints: hash('sha256', ''),
      stacking: hash('sha256', ''),
    },
  };
  await directory.writeResident(record, Uint8Array.of(1, 1, 1, 0));
  await directory.writeRecord(record);
  await utimes(directory.path, usedMs / 1000, usedMs / 1000);
  return directory;
}
