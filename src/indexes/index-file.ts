import { open } from 'node:fs/promises';
import { type Digest, sha256 } from '../chunks/digest.ts';
import { isSystemError, LazypullError } from '../errors.ts';
import { decodeTail, type LayerIndexFile } from '../formats/layer-index-file/decode.ts';
import { footerBytes, tailStart } from '../formats/layer-index-file/footer.ts';
import type { IndexArtifact } from './artifact.ts';
import { digestOfFile, readAt } from './index-record.ts';

/** An index in a file, and its content. */
export interface ReadIndex {
  readonly index: IndexArtifact;
  readonly content: LayerIndexFile;
}

/**
 * Reads the index of a layer from a file: all of it is hashed, and its tail decoded.
 *
 * @param size how many bytes of the file are the index; all by default
 * @throws DataLoss if it is damaged; FailedPrecondition for the index of another layer; Unimplemented for a later
 * version; InvalidArgument if there is no such file
 */
export async function readIndexFile(path: string, layer: Digest, size?: number): Promise<ReadIndex> {
  try {
    await using file = await open(path);
    const fileBytes = size ?? (await file.stat()).size;
    const digest = await digestOfFile(file, fileBytes);
    const footer = await readAt(file, Math.max(0, fileBytes - footerBytes), fileBytes);
    const tail = await readAt(file, tailStart(fileBytes, footer), fileBytes);
    const content = decodeTail(tail, { layerDigest: layer, fileBytes });
    return { index: { layer, digest, size: fileBytes, tail: { bytes: tail.length, digest: sha256(tail) } }, content };
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new LazypullError('InvalidArgument', `Cannot read the layer index "${path}"`, { cause: error });
  }
}
