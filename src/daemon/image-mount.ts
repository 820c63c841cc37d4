import { statSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isSystemError, LazypullError } from '../errors.ts';
import { treeName } from '../fronts/front.ts';
import { RegistryImage } from '../images/image-access.ts';
import type { Descriptor } from '../images/manifest.ts';
import type { ResolvedImage } from '../images/resolve.ts';
import { cgroupLimits } from '../kernel/cgroup.ts';
import { detach, mountOverlay, unmount } from '../kernel/mount.ts';
import { checkMachineFor } from '../kernel/probe.ts';
import { realPath } from '../kernel/real-path.ts';
import type { LayerStatus } from '../layers/layer-status.ts';
import { Layers } from '../layers/layers.ts';
import { layerError, daemonLayer } from '../image-reader/layer-errors.ts';
import type { Log } from '../log.ts';
import type { RegistryClient } from '../registry/client.ts';
import { formatReference } from '../registry/reference.ts';
import { inParallel } from '../util/in-parallel.ts';
import { openRoot } from '../state/root.ts';
import { clearLeft, WorkDirectory } from '../state/work-directory.ts';

const layersAtOnce = 4;

export interface ImageMountOptions {
  readonly client: RegistryClient;
  readonly image: ResolvedImage;
  /** Where to mount it. The directory is made if it is not there, and then removed again. */
  readonly directory: string;
  /** Where the layers are kept; undefined for a directory that is removed with the mount. */
  readonly root: string | undefined;
  /** Whether to fetch what is not read too. */
  readonly fill: boolean;
  readonly log: Log;
  /** Ends what is under way; a finished mount stays until `unmount`. */
  readonly signal: AbortSignal;
}

/** A mounted image. */
export interface ImageMount {
  status(): Promise<LayerStatus[]>;
  /**
   * Unmounts it and cleans up. @returns false if something still uses it: then it is gone from the tree, and reads of
   * missing data fail
   */
  unmount(): Promise<boolean>;
}

/**
 * Mounts an image read-only with all its layers lazy. It works like a daemon, and needs none. Whatever fails, nothing
 * is left behind.
 *
 * @throws FailedPrecondition with what to do if the machine lacks something, or a layer cannot be lazy; Canceled
 */
export async function mountImage(options: ImageMountOptions): Promise<ImageMount> {
  try {
    return await mountLazily(options);
  } catch (cause) {
    if (!isSystemError(cause)) throw cause;
    throw new LazypullError('Unavailable', `Cannot keep layers in "${options.root ?? tmpdir()}"`, { cause });
  }
}

async function mountLazily(options: ImageMountOptions): Promise<ImageMount> {
  await checkMachineFor('mount an image');
  await using parts = new AsyncDisposableStack();
  const ending = { idle: true };
  const target = realPath(options.directory);
  await clearLeft(tmpdir(), target, options.log);
  const work = parts.use(await WorkDirectory.make(tmpdir()));
  const root = realPath(options.root ?? join(work.path, 'root'));
  const { alone } = parts.use(await openRoot(root));
  const { client, log } = options;
  const layers = parts.adopt(
    await Layers.start({
      root,
      images: (reference) => new RegistryImage(client, reference),
      prefetch: undefined,
      background: options.fill ? { maxBytesPerSecond: undefined } : undefined,
      memoryBytes: cgroupLimits().memoryBytes,
      log,
    }),
    async (started) => {
      if (!(await started.close())) ending.idle = false;
    },
  );
  await alone;
  const stop = () => void client.close();
  options.signal.addEventListener('abort', stop, { once: true });
  parts.defer(() => options.signal.removeEventListener('abort', stop));
  try {
    const lower = await mountLayers(layers, options, join(work.path, 'at'));
    await makeDirectory(target, parts);
    work.noteTarget(target);
    await mountOverlay(lower, target, undefined, work.path);
  } catch (error) {
    if (options.signal.aborted) throw new LazypullError('Canceled', 'Interrupted');
    throw error;
  }
  parts.defer(async () => {
    if (!(await unmountNow(target))) ending.idle = false;
  });
  const kept = parts.move();
  return {
    status: () => layers.status(),
    async unmount() {
      await kept.disposeAsync();
      return ending.idle;
    },
  };
}

/**
 * Mounts each layer below `directory`. @returns the mount points, the uppermost first, and empty directories if there
 * are too few: overlayfs wants at least two
 */
async function mountLayers(layers: Layers, options: ImageMountOptions, directory: string): Promise<string[]> {
  const { client, image, signal } = options;
  const descriptors = image.manifest.layers;
  const access = new RegistryImage(client, formatReference(image.reference));
  // Each layer has a directory of its own as its mount point. Paths are short, because overlayfs takes only a page of
  // them.
  const points = descriptors.map((_, i) => join(directory, String(i), treeName));
  const mount = async (layer: Descriptor, i: number): Promise<void> => {
    const { format, id } = await daemonLayer(image, layer, client.blob(image.reference, layer.digest));
    const ref = { id, format, image: access, siblings: [], prefetchBytes: undefined };
    await layers.mount(points[i]!, ref, signal).catch((error: unknown) => {
      throw layerError(image, layer, error);
    });
  };
  await inParallel(descriptors, layersAtOnce, mount, signal);
  for (const [i, point] of points.entries()) {
    try {
      await layers.checkStacking(point, points.slice(0, i).toReversed());
    } catch (error) {
      throw layerError(image, descriptors[i]!, error);
    }
  }
  const empty = ['none', 'nothing'].map((name) => join(directory, name)).slice(0, points.length === 0 ? 2 : 1);
  for (const path of empty) await mkdir(path, { recursive: true });
  return [...points.toReversed(), ...empty];
}

async function makeDirectory(path: string, parts: AsyncDisposableStack): Promise<void> {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isDirectory()) return;
  if (stats !== undefined)
    throw new LazypullError('InvalidArgument', `Cannot mount at "${path}": it is not a directory`);
  try {
    await mkdir(path);
  } catch (cause) {
    throw new LazypullError('InvalidArgument', `Cannot make the directory "${path}" to mount at`, { cause });
  }
  parts.defer(() => rmdir(path).catch(() => undefined)); // it fails if something was put into it meanwhile
}

async function unmountNow(path: string): Promise<boolean> {
  try {
    await unmount(path);
    return true;
  } catch {
    await detach(path);
    return false;
  }
}
