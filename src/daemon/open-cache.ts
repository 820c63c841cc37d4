import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf, errnoOf, LazypullError } from '../errors.ts';
import { Cache, type CacheAccess, type LayerKey } from '../layers/cache.ts';
import { layerSource } from '../layers/source.ts';
import { LayerThreads } from '../layers/layer-threads.ts';
import { silentLog } from '../log.ts';
import { storedBlobs } from '../mirror/blob-store.ts';
import { SnapshotStore } from '../snapshots/store.ts';
import { CacheClient } from '../status/cache-client.ts';
import { clientRoots } from './clients.ts';
import { openRoot, type Root } from './root.ts';

/**
 * The cache below a root: the daemon's that has the root, else the files themselves, of which no daemon can take possession before the result is
 * disposed of.
 *
 * @param address socket of the daemon, where one is running
 * @throws NotFound when nothing is kept there; Unavailable when the daemon does not answer; FailedPrecondition when the one that answers has another root
 */
export async function openCache(root: string, address: string): Promise<CacheAccess & AsyncDisposable> {
  const files = filesOf(root);
  if (!files.includes('layers') && !files.includes('lock')) throw nothingIn(root);
  let lock: Root;
  try {
    lock = await openRoot(root, false);
  } catch (error) {
    if (codeOf(error) !== 'FailedPrecondition') throw error;
    const client = new CacheClient(root, address);
    return Object.assign(client, { [Symbol.asyncDispose]: async () => client[Symbol.dispose]() });
  }
  await lock.alone;
  if (!existsSync(join(root, 'layers'))) {
    lock[Symbol.dispose]();
    throw nothingIn(root);
  }
  const named = new Set((await clientRoots(root)).flatMap(namedLayers));
  const threads = new LayerThreads(2, silentLog);
  const cache = new Cache({
    root,
    limits: undefined,
    threads,
    beside: { list: () => storedBlobs(root) },
    log: silentLog,
    users: {
      isNeeded: (key) => named.has(key),
      whileClosed: (_, action) => action(),
      verifyOpen: () => Promise.resolve(undefined),
    },
  });
  const close = async (): Promise<void> => {
    await cache.close();
    await threads.close();
    lock[Symbol.dispose]();
  };
  return Object.assign(cache, { [Symbol.asyncDispose]: close });
}

/** What is in the root, before anything is done to a directory that may be no root at all. */
function filesOf(root: string): string[] {
  try {
    return readdirSync(root);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw nothingIn(root);
    throw new LazypullError('Unavailable', `Cannot read the root directory "${root}"`, { cause: error });
  }
}

function nothingIn(root: string): LazypullError {
  return new LazypullError('NotFound', `There is no cache of layers in "${root}"; give the daemon's --root`);
}

/** The layers that the snapshots of one client of a stopped daemon name. */
function namedLayers(root: string): LayerKey[] {
  const path = join(root, 'snapshotter', 'snapshots.db');
  if (!existsSync(path)) return [];
  using store = new SnapshotStore(path);
  return store.remotes().flatMap(({ info }) => {
    try {
      const { digest, tocDigest } = layerSource(info.labels);
      return [`${digest}\n${tocDigest}`];
    } catch {
      return []; // it names no layer
    }
  });
}
