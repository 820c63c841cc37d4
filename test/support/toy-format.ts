import { hash } from 'node:crypto';
import { checkChunk } from '../../src/chunks/checked-chunk.ts';
import { type Digest, hexOf, sha256 } from '../../src/chunks/digest.ts';
import type { LayerId } from '../../src/chunks/layer-id.ts';
import { LazypullError } from '../../src/errors.ts';
import { ChunkColumns } from '../../src/formats/chunk-columns.ts';
import type { Labels, LayerFormat } from '../../src/formats/layer-format.ts';
import { buildPlainTree } from '../../src/formats/tree.ts';
import { type IndexEntry, plainEntry } from '../../src/formats/layer-index.ts';
import { blockBytes, encodeFileHeader, paddingOf } from '../../src/formats/tar/header.ts';

/**
 * A layer format that lazypull does not have: the length of a JSON index in 8 bytes, the index, and a tar that is not
 * compressed. It knows nothing but the seam,
 * `LayerFormat`; worker threads get it as a module.
 */

export const toyLabel = 'example.com/toy.index';

interface ToyFile {
  readonly path: string;
  readonly size: number;
  /** In the tar. */
  readonly offset: number;
  readonly digest: string;
}

const lengthBytes = 8;
const chunkBytes = 1 << 20;

const toy: LayerFormat = {
  name: 'toy',
  identify: (labels: Labels): Digest | undefined => labels[toyLabel],
  labelsOf: (index) => ({ [toyLabel]: index }),
  recognizes: () => false,
  treeOf: buildPlainTree,

  async fetchIndex(file, { size }, { onBytes, signal } = {}) {
    const read = async (start: number, end: number): Promise<Buffer> => {
      const bytes = Buffer.concat(await Array.fromAsync(file.range(start, end, signal)));
      onBytes?.(bytes.length);
      return bytes;
    };
    const length = (await read(0, lengthBytes)).readDoubleLE();
    const bytes = await read(lengthBytes, lengthBytes + length);
    return { bytes, start: lengthBytes, fileBytes: size, dataEnd: size };
  },

  parse({ bytes, start, fileBytes: blobBytes }, { index }) {
    const digest = sha256(bytes);
    if (index !== undefined && index !== digest) throw new LazypullError('DataLoss', 'The toy index is another one');
    const files = JSON.parse(Buffer.from(bytes).toString()) as ToyFile[];
    const chunks = new ChunkColumns();
    const dataStart = start + bytes.length;
    const entries = files.map((file): IndexEntry => {
      const firstChunk = chunks.length;
      if (file.size > 0) {
        const chunk = chunks.add(dataStart + file.offset, 0, file.size);
        chunks.streamEnd[chunk] = dataStart + file.offset + file.size;
        chunks.digest.set(Buffer.from(hexOf(file.digest), 'hex'), chunk * 32);
      }
      return { ...plainEntry, path: file.path, size: file.size, firstChunk, chunkCount: chunks.length - firstChunk };
    });
    return { entries, chunks, digest, blobBytes, codecData: new SharedArrayBuffer(4) };
  },

  codec: {
    bytesNeeded: ({ streamOffset, streamEnd }, chunk) => ({ start: streamOffset[chunk]!, end: streamEnd[chunk]! }),
    async *unpack({ table, chunks, bytes, blobOffset, codecData }) {
      if (codecData?.byteLength !== 4) throw new Error('The codec does not get its data');
      for (let chunk = chunks.first; chunk < chunks.last; chunk++) {
        const at = table.streamOffset[chunk]! - blobOffset;
        yield checkChunk(table, chunk, bytes.subarray(at, at + table.size[chunk]!));
      }
    },
  },
};
export default toy;

/** A layer in the toy format. Files are at most 1 MiB. */
export function toyLayer(contents: ReadonlyMap<string, Buffer>): { bytes: Buffer; id: LayerId } {
  const files: ToyFile[] = [];
  const tar: Buffer[] = [];
  let offset = 0;
  for (const [path, content] of contents) {
    if (content.length > chunkBytes) throw new Error('A toy has small files');
    const member = [encodeFileHeader(path, content.length), content, Buffer.alloc(paddingOf(content.length))];
    files.push({ path, size: content.length, offset: offset + blockBytes, digest: sha256(content) });
    tar.push(...member);
    offset += member.reduce((sum, { length }) => sum + length, 0);
  }
  const json = Buffer.from(JSON.stringify(files));
  const length = Buffer.alloc(lengthBytes);
  length.writeDoubleLE(json.length);
  const bytes = Buffer.concat([length, json, ...tar, Buffer.alloc(2 * blockBytes)]);
  return { bytes, id: { digest: sha256(bytes), index: sha256(json) } };
}

/** The sha256 of a file's content as `sha256sum` prints it. */
export function sumOf(content: Buffer): string {
  return hash('sha256', content);
}
