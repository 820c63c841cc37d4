import { hash } from 'node:crypto';
import { LazypullError } from '../errors.ts';
import type { ChunkTable } from './chunk-table.ts';

/** The content of a chunk, which has its digest; or the error if it does not. */
export type CheckedChunk =
  | { readonly chunk: number; readonly content: Buffer }
  | { readonly chunk: number; readonly error: LazypullError };

/** Compares the content of a chunk with its digest. The error is DataLoss. */
export function checkChunk(table: ChunkTable, chunk: number, content: Buffer): CheckedChunk {
  if (content.length !== table.size[chunk]) {
    const at = table.streamOffset[chunk];
    const message = `The stream at byte ${at} of the layer is shorter than its chunk: ${content.length} of ${table.size[chunk]} bytes`;
    return { chunk, error: new LazypullError('DataLoss', message) };
  }
  const expected = Buffer.from(table.digest.buffer, table.digest.byteOffset + chunk * 32, 32);
  const actual = hash('sha256', content, 'buffer');
  if (!expected.equals(actual)) {
    const message = `Wrong chunk digest: sha256:${actual.toString('hex')} instead of sha256:${expected.toString('hex')}`;
    return { chunk, error: new LazypullError('DataLoss', message) };
  }
  return { chunk, content };
}
