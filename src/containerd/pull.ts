/**
 * A client of containerd: puts an image into it without its layers, which then are lazy. It knows containerd's services
 * for content, images, leases and snapshots.
 *
 * Begin with `pullImage`. `containerd-client.ts` makes the calls, and explains in plain words why one failed.
 */

import { createHash, randomUUID } from 'node:crypto';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { codeOf, LazypullError } from '../errors.ts';
import { Images } from '../gen/services/images/v1/images_pb.ts';
import { Leases } from '../gen/services/leases/v1/leases_pb.ts';
import { Snapshots } from '../gen/services/snapshots/v1/snapshots_pb.ts';
import { Version } from '../gen/services/version/v1/version_pb.ts';
import { readConfig } from '../images/config.ts';
import { parseConfig } from '../images/manifest.ts';
import type { ResolvedImage } from '../images/resolve.ts';
import { labelsOf } from '../layers/resolve/layer-ref.ts';
import {
  contentReferenceLabel,
  distributionLabel,
  expiryLabel,
  snapshotReferenceLabel,
  stargzLabels,
  targetLabel,
} from '../label-names.ts';
import { layerError, daemonLayer } from '../image-reader/layer-errors.ts';
import type { RegistryClient } from '../registry/client.ts';
import { formatReference } from '../registry/reference.ts';
import type { ContainerdClient } from './containerd-client.ts';

/** After this time the remains of a process that died may be removed. */
const leaseMs = 24 * 3600 * 1000;

/** Maximum length of a label together with its key (containerd, pkg/labels). */
const maxLabelBytes = 4096;

export interface PullOptions {
  readonly containerd: ContainerdClient;
  readonly client: RegistryClient;
  readonly image: ResolvedImage;
  /** Name of the snapshotter in containerd. */
  readonly snapshotter: string;
  /** Is called when a layer's turn comes, the lowest first. */
  readonly onStart?: (layer: { digest: string; size: number }) => void;
  /** Is called for each layer that is there, the lowest first. */
  readonly onLayer: (layer: { digest: string; chainId: string; wasThere: boolean }) => void;
}

/**
 * Makes an image known to containerd with all its layers lazy: first its documents in the content store, then a
 * snapshot for each layer, and last the record of the image, under the name that Docker and containerd use. No layer is
 * downloaded.
 *
 * @returns the name
 * @throws what names the layer, and says what to do, if the snapshotter leaves one to containerd: those below it are
 * kept for a day, so that containerd need not
 *   pull them
 */
export async function pullImage(options: PullOptions): Promise<string> {
  const { containerd, client, image, snapshotter } = options;
  const { documents, reference, manifest } = image;
  if (!(await isContainerds(containerd, image))) throw notContainerds(image);
  const name = formatReference(reference);
  const configBytes = image.configuration ?? (await readConfig(client, reference, manifest.config));
  const { diffIds } = parseConfig(configBytes, manifest.layers.length);
  await using lease = await takeLease(containerd);
  const source = { [distributionLabel(reference.host)]: reference.repository };
  const chainIds = chainIdsOf(diffIds);
  await prepareLayers(options, chainIds, lease);
  const top = chainIds.at(-1);
  await containerd.keep(manifest.config.digest, configBytes, {
    ...source,
    ...(top === undefined ? {} : { [snapshotReferenceLabel(snapshotter)]: top }),
  });
  const [root] = documents;
  for (const [i, { digest, bytes }] of [...documents.entries()].toReversed()) {
    const member = documents[i + 1];
    const references = member === undefined ? manifestReferences(image) : { [memberLabel]: member.digest };
    await containerd.keep(digest, bytes, { ...source, ...references });
  }
  const target = { mediaType: root!.mediaType, digest: root!.digest, size: BigInt(root!.bytes.length) };
  await record(containerd, name, target);
  return name;
}

/** Whether containerd chooses the same image. The matching of features came with its version 2.3. */
async function isContainerds(containerd: ContainerdClient, image: ResolvedImage): Promise<boolean> {
  if (image.isFirst === image.isFirstWithoutFeatures) return image.isFirst;
  const { version } = await containerd.call(Version.method.version, {});
  const [, major, minor] = /^v?([0-9]+)\.([0-9]+)/.exec(version) ?? [];
  const isOld = Number(major) < 2 || (Number(major) === 2 && Number(minor) < 3);
  return isOld ? image.isFirstWithoutFeatures : image.isFirst;
}

function notContainerds({ reference, platform = '', digest }: ResolvedImage): LazypullError {
  const { host, repository } = reference;
  const own = formatReference({ host, repository, digest });
  const what = `its index has something before the image for ${platform} that containerd would take instead, and fail`;
  return new LazypullError(
    'FailedPrecondition',
    `Cannot pull "${formatReference(reference)}": ${what}; pull "${own}", or make the index again`,
  );
}

/** The names of the snapshots of an image's layers (OCI image-spec, config.md, "Layer ChainID"). */
export function chainIdsOf(diffIds: readonly string[]): string[] {
  const ids: string[] = [];
  for (const diffId of diffIds) {
    const below = ids.at(-1);
    const hash = below === undefined ? undefined : createHash('sha256').update(`${below} ${diffId}`).digest('hex');
    ids.push(hash === undefined ? diffId : `sha256:${hash}`);
  }
  return ids;
}

/** What keeps containerd from removing what nothing refers to yet. It ends with its disposal, or in a day. */
interface Lease extends AsyncDisposable {
  /** Leaves it when it is disposed of. */
  leave(): void;
}

async function takeLease(containerd: ContainerdClient): Promise<Lease> {
  const id = `lazypull-${randomUUID()}`;
  const expires = new Date(Date.now() + leaseMs).toISOString();
  await containerd.call(Leases.method.create, { id, labels: { [expiryLabel]: expires } });
  containerd.useLease(id);
  let isLeft = false;
  return {
    leave() {
      isLeft = true;
    },
    async [Symbol.asyncDispose]() {
      if (!isLeft) await containerd.call(Leases.method.delete, { id });
    },
  };
}

/** The daemon pulls a layer without an index before Prepare returns, however large it is. */
const prepareMs = 3_600_000;

async function prepareLayers(options: PullOptions, chainIds: readonly string[], lease: Lease): Promise<void> {
  const { layers } = options.image.manifest;
  let parent = '';
  for (const [i, chainId] of chainIds.entries()) {
    options.onStart?.(layers[i]!);
    const wasThere = await isThere(options, chainId);
    if (!wasThere && !(await prepareLayer(options, i, chainId, parent))) {
      lease.leave();
      throw leftToClient(options, i);
    }
    options.onLayer({ digest: layers[i]!.digest, chainId, wasThere });
    parent = chainId;
  }
}

/** Has the snapshotter make a layer. @returns false if it leaves that to containerd */
async function prepareLayer(options: PullOptions, index: number, chainId: string, parent: string): Promise<boolean> {
  const { containerd, client, image, snapshotter } = options;
  const { layers } = image.manifest;
  const layer = layers[index]!;
  const { format, id } = await daemonLayer(image, layer, client.blob(image.reference, layer.digest));
  const key = `extract-${randomUUID()} ${chainId}`;
  const above = layers.slice(index).map(({ digest }) => digest);
  const labels = {
    [targetLabel]: chainId,
    ...labelsOf(formatReference(image.reference), id, format),
    [stargzLabels.layers]: cut(above, maxLabelBytes - stargzLabels.layers.length),
  };
  try {
    await containerd.call(Snapshots.method.prepare, { snapshotter, key, parent, labels }, prepareMs);
  } catch (error) {
    if (codeOf(error) !== 'AlreadyExists') throw error;
    if (await isThere(options, chainId)) return true;
  }
  await containerd.call(Snapshots.method.remove, { snapshotter, key }).catch(() => undefined);
  return false;
}

/** Says of a layer that only containerd can pull it, and how it does that. */
function leftToClient({ image, snapshotter }: PullOptions, index: number): LazypullError {
  const { layers } = image.manifest;
  const reason = `containerd's snapshotter "${snapshotter}" did not make it lazy; the log of its daemon and "lazypull why" say why`;
  const command = `"ctr images pull --snapshotter ${snapshotter} ${formatReference(image.reference)}"`;
  const above = layers.length - index - 1;
  const pulls = above === 0 ? 'pulls it' : `pulls it, and asks for the ${above} above it`;
  const below = index === 0 ? '' : `; it takes the ${index} below as they are, which are kept for a day`;
  return layerError(
    image,
    layers[index]!,
    new LazypullError('Unavailable', reason, { hint: `${command} ${pulls}${below}` }),
  );
}

/** As many of the digests as fit into so many bytes. */
function cut(digests: readonly string[], maxBytes: number): string {
  let text = '';
  for (const digest of digests) {
    const next = text === '' ? digest : `${text},${digest}`;
    if (next.length > maxBytes) break;
    text = next;
  }
  return text;
}

async function isThere({ containerd, snapshotter }: PullOptions, key: string): Promise<boolean> {
  try {
    await containerd.call(Snapshots.method.stat, { snapshotter, key });
    return true;
  } catch (error) {
    if (codeOf(error) === 'NotFound') return false;
    throw error;
  }
}

/** The labels that tell the garbage collection what a document needs. */
function manifestReferences({ manifest: { config, layers } }: ResolvedImage): Record<string, string> {
  const references = layers.map(({ digest }, i) => [contentReferenceLabel(`l.${i}`), digest]);
  return { [contentReferenceLabel('config')]: config.digest, ...Object.fromEntries(references) };
}

const memberLabel = contentReferenceLabel('m.0');

async function record(
  containerd: ContainerdClient,
  name: string,
  target: { mediaType: string; digest: string; size: bigint },
): Promise<void> {
  const now = timestampFromMs(Date.now());
  try {
    await containerd.call(Images.method.create, { image: { name, target, createdAt: now, updatedAt: now } });
  } catch (error) {
    if (codeOf(error) !== 'AlreadyExists') throw error;
    await containerd.call(Images.method.update, { image: { name, target }, updateMask: { paths: ['target'] } });
  }
}
