import { layerKey } from '../chunks/layer-id.ts';
import { LazypullError, messageOf } from '../errors.ts';
import type { OpenImageAccess } from '../images/image-access.ts';
import type { Log } from '../log.ts';
import type { LayersOptions } from './layers-options.ts';
import type { LayerOpener } from './layer-opener.ts';
import type { OpenLayers } from './open-layers.ts';
import { findRecord } from './store/layer-directory.ts';

/** How long a layer is left alone that could not be opened for its readers. */
const reopenAfterMs = 5_000;

/**
 * Layers that are read without an open mount of ours: of an earlier life, or of a mount that was taken out of the tree.
 * Each counts as one user of its layer.
 */
export class LeftReaders {
  readonly #path: string;
  readonly #opener: LayerOpener;
  readonly #layers: OpenLayers;
  readonly #images: OpenImageAccess;
  readonly #log: Log;
  readonly #readers = new Map<number, Promise<void>>();

  /** @param path path of the directories of all layers */
  constructor(
    path: string,
    opener: LayerOpener,
    layers: OpenLayers,
    { images, log }: Pick<LayersOptions, 'images' | 'log'>,
  ) {
    this.#path = path;
    this.#opener = opener;
    this.#layers = layers;
    this.#images = images;
    this.#log = log;
  }

  /** Opens the layer whose FUSE file has a node id. */
  open(nodeId: number): Promise<void> {
    let opening = this.#readers.get(nodeId);
    if (opening === undefined) {
      opening = this.#open(nodeId);
      this.#readers.set(nodeId, opening);
      opening.catch((error: unknown) => {
        this.#log.error(
          { node: nodeId, error: messageOf(error) },
          'cannot open a layer that is still read: its readers get EIO',
        );
        setTimeout(() => this.#readers.delete(nodeId), reopenAfterMs).unref();
      });
    }
    return opening;
  }

  /** Forgets a layer that has been mounted. @returns whether it was opened here: then it has one user too many */
  delete(nodeId: number): boolean {
    return this.#readers.delete(nodeId);
  }

  /** Forgets all. @returns their node ids */
  clear(): ReadonlySet<number> {
    const ids = new Set(this.#readers.keys());
    this.#readers.clear();
    return ids;
  }

  async #open(nodeId: number): Promise<void> {
    const record = await findRecord(this.#path, nodeId);
    if (record === undefined) throw new LazypullError('NotFound', 'Nothing of the layer is on the disk');
    const id = { digest: record.digest, index: record.indexDigest };
    const format = this.#opener.formatOf(record);
    const image = this.#images(record.reference, {});
    const ref = { id, format, image, siblings: [], prefetchBytes: undefined };
    const entry = this.#layers.use(layerKey(id), () => this.#opener.openKept(ref));
    try {
      await entry.layer;
    } catch (error) {
      await this.#layers.release(layerKey(id), entry);
      throw error;
    }
  }
}
