import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Descriptor } from '../images/manifest.ts';
import { type ReadIndex, readIndexFile } from '../indexes/index-file.ts';
import { LazypullError } from '../errors.ts';
import { LayerPuller } from '../layers/pull/puller.ts';
import { silentLog } from '../log.ts';
import type { Blob } from '../registry/blob/blob.ts';

/** More threads would only wait for the network, and take memory. */
const maxThreads = 4;

const limits = { heapMb: 1024, connections: 4, requestBytes: 64 << 20, unsyncedBytes: 64 << 20 };

/** An index that was made of a blob, in a file that exists until the directory is removed. */
export interface MadeIndex extends ReadIndex {
  readonly path: string;
}

/**
 * Makes the indexes of layers as a daemon does when it pulls them. Unpacked data goes to a directory for temporary
 * files, and is removed at once; the indexes stay there until this is disposed of.
 */
export class IndexMaker implements AsyncDisposable {
  readonly #directory: string;
  readonly #puller: LayerPuller;
  readonly #signal: AbortSignal;
  /** Several indexes of one layer are compared with one that is made. */
  #latest: { readonly digest: string; readonly index: MadeIndex } | undefined;

  /** @param parent the parent of that directory; by default the system's directory for temporary files */
  static async open(parent: string | undefined, signal: AbortSignal): Promise<IndexMaker> {
    const directory = parent ?? tmpdir();
    try {
      return new IndexMaker(await mkdtemp(join(directory, 'lazypull-index-')), signal);
    } catch (error) {
      throw new LazypullError('Unavailable', `Cannot make a directory in "${directory}"`, { cause: error });
    }
  }

  private constructor(directory: string, signal: AbortSignal) {
    const threads = Math.min(availableParallelism(), maxThreads);
    this.#directory = directory;
    this.#signal = signal;
    this.#puller = new LayerPuller({
      limits: { threads, littleThreads: threads, ...limits },
      makeRoom: () => Promise.resolve(),
      log: silentLog,
    });
  }

  /**
   * Reads a blob, compares it with its digest, and makes the index of it.
   *
   * @throws Unimplemented for a layer that can have none, such as one with a span too long; else as `LayerPuller.pull`
   */
  async make({ digest }: Descriptor, blob: Blob): Promise<MadeIndex> {
    if (this.#latest?.digest !== digest) this.#latest = { digest, index: await this.#make(digest, blob) };
    return this.#latest.index;
  }

  async #make(digest: string, blob: Blob): Promise<MadeIndex> {
    const base = join(this.#directory, digest.slice('sha256:'.length));
    const indexPath = `${base}.index`;
    const diskPath = `${base}.disk`;
    const others = ['table', 'paths', 'hints', 'stacking', 'codec'].map((name) => `${base}.${name}`);
    const [tablePath = '', pathsPath = '', hintsPath = '', stackingPath = '', codecPath = ''] = others;
    const paths = { diskPath, tablePath, pathsPath, hintsPath, stackingPath, codecPath, indexPath };
    const onProgress = (): void => undefined;
    try {
      const pulled = await this.#puller.pull({ digest, blob, ...paths, signal: this.#signal, onProgress });
      if ('problem' in pulled.index) throw withoutIndex(pulled.index.problem);
    } finally {
      for (const path of [diskPath, ...others]) await rm(path, { force: true });
    }
    return { ...(await readIndexFile(indexPath, digest)), path: indexPath };
  }

  /** Writes the index of a layer that was made elsewhere to a file. */
  async write(layer: string, bytes: AsyncIterable<Uint8Array>): Promise<string> {
    const path = join(this.#directory, `${layer.slice('sha256:'.length)}.given`);
    await writeFile(path, bytes);
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#puller[Symbol.asyncDispose]();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

function withoutIndex(problem: string): LazypullError {
  return new LazypullError('Unimplemented', `No index can be made: ${problem}`, {
    hint: 'convert the image with "lazypull convert"; "lazypull check" says if this machine cannot make indexes',
  });
}
