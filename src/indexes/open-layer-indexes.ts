import { type KeyObject } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { codeOf, LazypullError } from '../errors.ts';
import type { ImageAccess } from '../images/image-access.ts';
import { readGivenFile } from '../kernel/given-file.ts';
import type { Log } from '../log.ts';
import type { RegistryClient } from '../registry/client.ts';
import { bytesOf, parseAmount } from '../util/amount.ts';
import { RecentMap } from '../util/recent-map.ts';
import { IndexLookups } from './index-lookups.ts';
import { IndexPublisher } from './index-publisher.ts';
import { IndexReferrers, pinnedReference } from './index-referrers.ts';
import { IndexRepository } from './index-repository.ts';
import { IndexStore } from './index-store.ts';
import { IndexTrust } from './index-trust.ts';
import { LayerIndexes } from './layer-indexes.ts';
import { type IndexMetrics, indexMetrics } from './metrics.ts';
import { PendingPushes } from './pending-pushes.ts';
import { maxKeyBytes, parsePrivateKey } from './signature.ts';

/** `[index]` of config.toml. */
export interface IndexConfig {
  readonly max_size: string | number;
  readonly repository: string;
  readonly push: boolean;
  readonly referrers: boolean;
  readonly trusted_keys: readonly string[];
  readonly signing_key: string;
  readonly lookup_timeout_msec: number;
}

/** The defaults without a config file. */
export const defaultIndexConfig: IndexConfig = {
  max_size: '2GB',
  repository: '',
  push: false,
  referrers: false,
  trusted_keys: [],
  signing_key: '',
  lookup_timeout_msec: 300,
};

/** Images whose referrers are remembered, and for how long. */
const maxImages = 256;
const imageMs = 300_000;

/**
 * The layer indexes of a daemon, according to its configuration.
 *
 * @param root the daemon's root
 * @throws InvalidArgument that names the key of the configuration which cannot be used
 */
export async function openLayerIndexes(
  root: string,
  config: IndexConfig,
  client: RegistryClient,
  log: Log,
  metrics: IndexMetrics = indexMetrics(),
): Promise<LayerIndexes> {
  const { store, trust, repository } = await openIndexParts(root, config, client, log);
  const key = config.push ? await signingKey(config) : undefined;
  const images = new RecentMap<IndexLookups>(maxImages);
  const lookupsOf = (image: ImageAccess): IndexLookups | undefined => {
    const pinned = pinnedReference(image.reference);
    if (pinned === undefined) return undefined;
    const name = `${pinned.host}/${pinned.repository}`;
    const id = `${name}@${pinned.digest}`;
    const known = images.get(id);
    const lookups = known ?? new IndexLookups(new IndexReferrers(image, name), store, trust, log);
    if (known === undefined) images.set(id, lookups, imageMs);
    return lookups;
  };
  return new LayerIndexes({
    store,
    trust,
    repository: repository && new IndexLookups(repository, store, trust, log),
    referrersOf: config.referrers ? lookupsOf : undefined,
    publisher:
      config.push && repository
        ? new IndexPublisher(repository, key, new PendingPushes(root), metrics, log)
        : undefined,
    lookupMs: config.lookup_timeout_msec,
    metrics,
    log,
  });
}

/** The parts by themselves, as commands need them. Throws as `openLayerIndexes`. */
export async function openIndexParts(
  root: string,
  config: IndexConfig,
  client: RegistryClient,
  log: Log,
): Promise<{ store: IndexStore; trust: IndexTrust; repository: IndexRepository | undefined }> {
  const { repository: name, push, referrers, trusted_keys: trustedKeys } = config;
  if (push && name === '') {
    throw new LazypullError('InvalidArgument', 'Cannot use the key "index.push": there is no "index.repository"');
  }
  const repository = name === '' ? undefined : usable('repository', () => new IndexRepository(client, name));
  const trust = usable('trusted_keys', () => new IndexTrust({ repository: repository?.name, referrers, trustedKeys }));
  return { store: await openIndexStore(root, config.max_size, log), trust, repository };
}

/** The store below a root, which may not exist yet. `maxSize` is `index.max_size`. */
export async function openIndexStore(root: string, maxSize: string | number, log: Log): Promise<IndexStore> {
  const amount = parseAmount(maxSize);
  if (amount === undefined) throw new LazypullError('InvalidArgument', `Cannot use the size "${maxSize}"`);
  const isShare = 'share' in amount;
  const whole = isShare ? await statfs(root).then(({ blocks, bsize }) => blocks * bsize) : 0;
  return new IndexStore(root, bytesOf(amount, whole), log);
}

/** The key that signs pushed indexes; undefined if none is named. */
export async function signingKey({ signing_key: path }: IndexConfig): Promise<KeyObject | undefined> {
  if (path === '') return undefined;
  try {
    return parsePrivateKey(await readGivenFile(path, maxKeyBytes), path);
  } catch (error) {
    throw new LazypullError('InvalidArgument', 'Cannot use the key "index.signing_key"', { cause: error });
  }
}

function usable<T>(key: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (codeOf(error) !== 'InvalidArgument') throw error;
    throw new LazypullError('InvalidArgument', `Cannot use the key "index.${key}"`, { cause: error });
  }
}
