import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../chunks/digest.ts';
import type { ImageAccess } from '../../images/image-access.ts';
import type { LayerPuller } from '../pull/puller.ts';
import { LayerDirectory } from '../store/layer-directory.ts';
import { makeDirectory } from '../../kernel/make-directory.ts';

/** How often each thread makes the layer: enough for the engine to compile what is called for every file and piece. */
const rounds = 4;

export interface PracticePullOptions {
  readonly puller: Pick<LayerPuller, 'pull' | 'threads'>;
  readonly digest: Digest;
  /** Has that blob, of a gzip layer. */
  readonly image: ImageAccess;
  /** A directory that is not there, for what is pulled. */
  readonly path: string;
  /** Ends it in its midst. */
  readonly signal: AbortSignal;
}

/**
 * Pulls a made-up layer a few times with every thread that pulls, and throws it away: the threads are there then, and
 * the engine has compiled what they run, before the first image comes. Rejects if `signal` ends it.
 */
export async function practisePull({ puller, digest, image, path, signal }: PracticePullOptions): Promise<void> {
  const pull = async (thread: number): Promise<void> => {
    for (let round = 0; round < rounds; round++) {
      signal.throwIfAborted();
      const directory = new LayerDirectory(join(path, `${thread}-${round}`));
      makeDirectory(directory.path, 0o700);
      const files = { ...directory.paths, indexPath: directory.indexPath };
      await puller.pull({ blob: image.blob(digest), digest, ...files, signal, onProgress: () => undefined });
    }
  };
  try {
    const pulls = await Promise.allSettled(Array.from({ length: puller.threads }, (_, thread) => pull(thread)));
    for (const result of pulls) if (result.status === 'rejected') throw result.reason;
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}
