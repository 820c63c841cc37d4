import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../chunks/digest.ts';
import { errnoOf } from '../../errors.ts';
import { replaceFileNow } from '../../kernel/replace-file.ts';
import type { LayerDirectory } from './layer-directory.ts';

/** The file of a layer's index. */
export interface IndexFileSums {
  readonly digest: Digest;
  readonly bytes: number;
}

/**
 * Says that the index beside a layer was made here and is in no store yet. A file in the layer's directory holds this,
 * so that the next daemon knows it if this one is killed. Indexes that came from elsewhere have none.
 */
export class UnkeptIndex {
  readonly #path: string;

  constructor(directory: Pick<LayerDirectory, 'path'>) {
    this.#path = join(directory.path, 'index.json');
  }

  async note({ digest, bytes }: IndexFileSums): Promise<void> {
    replaceFileNow(this.#path, JSON.stringify({ digest, bytes } satisfies IndexFileSums));
  }

  /** Undefined if there is none, or if a power cut has damaged the file. */
  async read(): Promise<IndexFileSums | undefined> {
    try {
      const { digest, bytes } = JSON.parse(await readFile(this.#path, 'utf8')) as Partial<IndexFileSums>;
      return typeof digest === 'string' && Number.isSafeInteger(bytes) ? { digest, bytes: bytes! } : undefined;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError || error instanceof TypeError) return undefined;
      throw error;
    }
  }

  /** The index is in the store, or of no use. */
  async forget(): Promise<void> {
    await rm(this.#path, { force: true });
  }
}
