import { type FileHandle, open } from 'node:fs/promises';
import { messageOf } from '../../errors.ts';
import { footerBytes, tailStart } from '../../formats/layer-index-file/footer.ts';
import { digestOfFile } from '../../indexes/index-record.ts';
import type { Log } from '../../log.ts';
import type { LayerDirectory } from '../store/layer-directory.ts';
import { type IndexFileSums, UnkeptIndex } from '../store/unkept-index.ts';
import type { IndexSource } from './index-source.ts';
import type { LayerPulls } from './layer-pulls.ts';

export interface IndexKeeperOptions {
  readonly indexes: Pick<IndexSource, 'findHere' | 'made'>;
  /** Go first: clients wait for them. */
  readonly pulls: Pick<LayerPulls, 'quiet'>;
  readonly log: Log;
}

/**
 * Copies indexes that were made here from the directories of their layers to the store, one after another, in the
 * background. An index that a killed daemon has left beside its layer is copied in the next life.
 */
export class IndexKeeper implements AsyncDisposable {
  readonly #options: IndexKeeperOptions;
  readonly #closing = new AbortController();
  /** Settles once everything is kept. */
  #keeping: Promise<void> = Promise.resolve();

  constructor(options: IndexKeeperOptions) {
    this.#options = options;
  }

  /** Keeps the index of a layer that has just been pulled into a directory, even if the directory is removed soon. */
  async keep(digest: string, directory: LayerDirectory, bytes: number): Promise<void> {
    const file = await open(directory.indexPath);
    this.#queue(digest, async () => {
      await using index = file;
      await this.#keep(digest, directory, index, bytes);
    });
  }

  /** The same for the index of an earlier life, if it is not in the store. It does not wait, and never fails. */
  keepLeft(digest: string, directory: LayerDirectory): void {
    this.#queue(digest, async () => {
      if (this.#closing.signal.aborted) return; // the next life does it
      const unkept = await new UnkeptIndex(directory).read();
      if (unkept === undefined) return;
      if ((await this.#options.indexes.findHere(digest)) === undefined) {
        await using index = await open(directory.indexPath);
        if (await isWhole(index, unkept)) return await this.#keep(digest, directory, index, unkept.bytes);
      }
      await new UnkeptIndex(directory).forget();
    });
  }

  /** Settles once everything is kept. */
  async idle(): Promise<void> {
    await this.#keeping;
  }

  /** Settles once everything that was made in this life is kept. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#keeping;
  }

  #queue(digest: string, work: () => Promise<void>): void {
    const { pulls, log } = this.#options;
    this.#keeping = this.#keeping
      .then(() => pulls.quiet(this.#closing.signal))
      .then(work)
      .catch((error: unknown) => {
        log.warn({ layer: digest, error: messageOf(error) }, 'cannot keep the index of a layer');
      });
  }

  async #keep(digest: string, directory: LayerDirectory, file: FileHandle, size: number): Promise<void> {
    const path = `/proc/self/fd/${file.fd}`;
    const { buffer } = await file.read(Buffer.alloc(footerBytes), 0, footerBytes, size - footerBytes);
    await this.#options.indexes.made(digest, { path, size, tailBytes: size - tailStart(size, buffer) });
    await new UnkeptIndex(directory).forget();
  }
}

/** Whether a file is what it was when it was written: a power cut may have damaged it. */
async function isWhole(file: FileHandle, { digest, bytes }: IndexFileSums): Promise<boolean> {
  const { size } = await file.stat();
  return size === bytes && (await digestOfFile(file, bytes)) === digest;
}
