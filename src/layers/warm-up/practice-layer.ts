import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { PracticeLayer } from '../../formats/practice.ts';
import { treeName } from '../../fronts/front.ts';
import type { ImageAccess } from '../../images/image-access.ts';
import type { MountHelper } from '../../kernel/mount-helper.ts';
import { silentLog } from '../../log.ts';
import { Indexer, type KnownLayer } from '../resolve/indexer.ts';
import { openIndexed } from '../resolve/open-indexed.ts';
import type { Layer } from '../layer.ts';
import type { LayerOptions } from '../layer-options.ts';
import { LayerDirectory } from '../store/layer-directory.ts';
import type { WorkerPool } from '../workers/pool.ts';
import { Link } from '../fetch/link.ts';
import { layerMetrics } from '../metrics.ts';
import { TraceStore } from '../prefetch/trace.ts';
import { makeDirectory } from '../../kernel/make-directory.ts';

/** The parts that this layer does not share with the others. */
export type OwnOfLayer = Pick<LayerOptions, 'link' | 'metrics' | 'log'>;

/** Opens a layer that is reported nowhere. */
export type ServeQuietly = (layer: KnownLayer, own: OwnOfLayer) => Promise<Layer>;

export interface PracticeOptions {
  readonly root: string;
  readonly layer: PracticeLayer;
  /** Has the layer's blob. */
  readonly image: ImageAccess;
  readonly threads: WorkerPool;
  readonly helper: MountHelper;
  readonly serve: ServeQuietly;
  /** Ends it early. */
  readonly signal: AbortSignal;
}

/**
 * Does with a synthetic layer what the first layer of a build needs: fetches its index, plans and mounts its image, and
 * reads its files. JavaScript runs several times faster once the engine has seen it run; without this, the first build
 * would pay for that. Begins after `removeStage`, and leaves nothing behind, even if `signal` ends it: then it rejects.
 */
export async function practiseLayer(options: PracticeOptions): Promise<void> {
  const { root, layer, image, threads, helper, serve, signal } = options;
  const { mountpoint, directory, path } = stageOf(root);
  makeDirectory(mountpoint, 0o700);
  await mkdir(directory.path, { mode: 0o700 });
  const own: OwnOfLayer = { link: new Link(), metrics: layerMetrics(), log: silentLog };
  const indexer = new Indexer({
    threads,
    traces: new TraceStore(path),
    prefetchBytes: () => 0,
    directory: path,
    aheadDirectory: join(path, 'ahead'),
    metrics: own.metrics,
    log: own.log,
  });
  const { id, format, paths } = layer;
  const ref = { id, format, image, siblings: [], prefetchBytes: undefined };
  try {
    signal.throwIfAborted();
    const served = await openIndexed(indexer.index(ref, directory), (known) => serve(known, own));
    try {
      signal.throwIfAborted();
      await helper.mountImage(served.fileSystem.type, served.imagePath, mountpoint);
      for (const name of paths) {
        signal.throwIfAborted();
        await helper.read(join(mountpoint, treeName, name));
      }
    } finally {
      await helper.detach(mountpoint);
      await served.close();
    }
  } finally {
    await indexer.close();
    await removeStage(root, helper);
    threads.restSoon();
  }
}

/** Removes what the warm-up of a killed daemon has left, even of a version that called the directory otherwise. */
export async function removeStage(root: string, helper: MountHelper): Promise<void> {
  for (const path of [stagePath(root), join(root, 'rehearsal')]) {
    while (await helper.detach(mountpointIn(path)));
    await rm(path, { recursive: true, force: true });
  }
}

/** The directory of the files of a warm-up. */
export function stagePath(root: string): string {
  return join(root, 'warm-up');
}

function mountpointIn(path: string): string {
  return join(path, 'mount');
}

function stageOf(root: string) {
  const path = stagePath(root);
  return { path, mountpoint: mountpointIn(path), directory: new LayerDirectory(join(path, 'layer')) };
}
