import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOfHex, hexOf, isSha256Hex } from '../chunks/digest.ts';
import { codeOf, errnoOf } from '../errors.ts';
import { readOwnFile } from '../kernel/own-file.ts';
import { replaceFile } from '../kernel/replace-file.ts';
import { makeDirectory } from '../kernel/make-directory.ts';

/** An index that is still to be pushed. */
export interface PendingPush {
  readonly layer: string;
  /** Whether it replaces an unused one in the repository. */
  readonly replaces: boolean;
}

/** The content of the file of a push that replaces an index. */
const replacesText = 'replaces';

/**
 * What is still to be pushed, for the next life of the daemon: in `index-pushes/` below the root, a file for each
 * layer, named by the hex of its digest.
 */
export class PendingPushes {
  readonly #directory: string;

  /** @param root of the daemon */
  constructor(root: string) {
    this.#directory = join(root, 'index-pushes');
  }

  async add({ layer, replaces }: PendingPush): Promise<void> {
    makeDirectory(this.#directory, 0o700);
    await replaceFile(this.#path(layer), replaces ? replacesText : '');
  }

  async remove(layer: string): Promise<void> {
    await rm(this.#path(layer), { force: true });
  }

  /** The pushes of earlier lives, the oldest first. Of more than `most` the oldest are given up. */
  async take(most: number): Promise<PendingPush[]> {
    const found: (PendingPush & { readonly ms: number })[] = [];
    for (const name of await this.#names()) {
      const path = join(this.#directory, name);
      if (!isSha256Hex(name)) {
        await rm(path, { recursive: true, force: true }); // half-written
        continue;
      }
      try {
        const { mtimeMs: ms } = await stat(path);
        const replaces = readOwnFile(path) === replacesText;
        found.push({ layer: digestOfHex(name), replaces, ms });
      } catch (error) {
        if (codeOf(error) === 'DataLoss') await rm(path, { recursive: true, force: true });
        else if (errnoOf(error) !== 'ENOENT') throw error;
      }
    }
    found.sort((a, b) => a.ms - b.ms);
    for (const { layer } of found.splice(0, Math.max(0, found.length - most))) await this.remove(layer);
    return found.map(({ layer, replaces }) => ({ layer, replaces }));
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.#directory);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    }
  }

  #path(layer: string): string {
    return join(this.#directory, hexOf(layer, 'layer digest'));
  }
}
