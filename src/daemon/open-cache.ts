import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, errnoOf, LazypullError } from '../errors.ts';
import { Formats } from '../formats/index.ts';
import { listenerPid } from '../kernel/unix-socket.ts';
import { type LayerKey, layerKey } from '../chunks/layer-id.ts';
import { Cache } from '../layers/cache/cache.ts';
import type { CacheAccess } from '../layers/cache/cache-access.ts';
import { ampleMemory } from '../layers/memory-budget.ts';
import { resolve } from '../layers/resolve/layer-ref.ts';
import { Refusal } from '../layers/resolve/refusal.ts';
import { WorkerPool } from '../layers/workers/pool.ts';
import { silentLog } from '../log.ts';
import { storedBlobs } from '../mirror/blob-store.ts';
import { checkThere } from '../snapshots/database.ts';
import { SnapshotStore } from '../snapshots/store.ts';
import { CacheClient } from '../status/cache-client.ts';
import { clientRoots } from './clients.ts';
import { keeperOf } from './keeper.ts';
import { openRoot, type Root } from '../state/root.ts';

/** How long to wait for the successor of a killed daemon. */
const maxWaitMs = 30_000;
const pollMs = 100;

/**
 * The cache below a root. If a daemon has the root, it is asked. Otherwise these are the files themselves, and no
 * daemon can take the root before the result is disposed of. If a daemon was killed and its keeper waits for the next
 * one, so do we: its readers need it, and only it can find their layers.
 *
 * @param address socket of the daemon, if one is running
 * @throws NotFound if there is no cache; Unavailable if the daemon does not answer; FailedPrecondition if the daemon
 * that answers has another root
 */
export async function openCache(root: string, address: string): Promise<CacheAccess & AsyncDisposable> {
  const files = filesOf(root);
  if (!files.includes('layers') && !files.includes('lock')) throw nothingIn(root);
  if (await isServed(root, address)) return cacheOfDaemon(root, address);
  let lock: Root;
  try {
    lock = await openRoot(root, { isBrief: true });
  } catch (error) {
    if (codeOf(error) !== 'FailedPrecondition') throw error;
    return cacheOfDaemon(root, address);
  }
  await lock.alone;
  if (!existsSync(join(root, 'layers'))) {
    lock[Symbol.dispose]();
    throw nothingIn(root);
  }
  const named = new Set((await clientRoots(root)).flatMap(namedLayers));
  const threads = new WorkerPool(ampleMemory, silentLog);
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

function cacheOfDaemon(root: string, address: string): CacheAccess & AsyncDisposable {
  const client = new CacheClient(root, address);
  return Object.assign(client, { [Symbol.asyncDispose]: async () => client[Symbol.dispose]() });
}

/**
 * Whether a daemon serves the root, or served it and is back in time. Throws `Unavailable` if it is not back in time.
 */
async function isServed(root: string, address: string): Promise<boolean> {
  for (const deadline = performance.now() + maxWaitMs; ; await sleep(pollMs)) {
    const keeper = await keeperOf(root);
    if (keeper === undefined) return false;
    if ((await listenerPid(address)) !== undefined) return true;
    if (performance.now() > deadline) {
      throw new LazypullError(
        'Unavailable',
        `No daemon serves "${address}", and the mounts of an earlier one from "${root}" wait for the next: start a daemon, give its --address, or end the keeper, process ${keeper}`,
      );
    }
  }
}

/** The files in the root. Nothing is done to a directory that may be no root at all. */
function filesOf(root: string): string[] {
  try {
    return readdirSync(root);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw nothingIn(root);
    throw new LazypullError('Unavailable', `Cannot read the root directory "${root}"`, { cause: error });
  }
}

function nothingIn(root: string): LazypullError {
  return new LazypullError('NotFound', `There is no cache of layers in "${root}"`, {
    hint: "give the daemon's --root",
  });
}

/** The layers that the snapshots of one client of a stopped daemon name. */
function namedLayers(root: string): LayerKey[] {
  const path = join(root, 'snapshotter', 'snapshots.db');
  checkThere(path); // else the layers of lost snapshots would count as unused
  if (!existsSync(path)) return [];
  const formats = new Formats();
  using store = new SnapshotStore(path);
  return store.remotes().flatMap(({ info }) => {
    const named = resolve(info.labels, formats);
    return named instanceof Refusal ? [] : [layerKey(named.id)];
  });
}
