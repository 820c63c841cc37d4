import { setImmediate } from 'node:timers/promises';
import { LazypullError } from '../errors.ts';
import type { LayerKey } from '../chunks/layer-id.ts';
import type { Layer } from './layer.ts';
import type { LayerStatus } from './layer-status.ts';
import { maxReferences } from './uses/layer-use.ts';
import type { OpenUse, UseHistory } from './uses/use-history.ts';

/** A layer that is open, or about to be. */
export interface OpenLayer {
  readonly layer: Promise<Layer>;
  /** Cancels the opening. */
  readonly abort: AbortController;
  /** The layer, once it is mounted, and since when, in milliseconds since 1970. */
  mounted?: Layer;
  mountedMs?: number;
  /** What it does from then on. */
  use?: OpenUse;
  /** Images that have it. */
  readonly references: Set<string>;
  /** Mounts, and calls that are about to mount. */
  users: number;
}

/** The open layers, each of them once. Closing one takes time: opening it again waits for that. */
export class OpenLayers {
  readonly #entries = new Map<LayerKey, OpenLayer>();
  /** Layers that are being closed, or whose files are being removed or verified. */
  readonly #closing = new Map<LayerKey, Promise<void>>();
  readonly #onClose: (layer: Layer) => void;

  /** @param onClose called before a layer is closed */
  constructor(onClose: (layer: Layer) => void) {
    this.#onClose = onClose;
  }

  get size(): number {
    return this.#entries.size;
  }

  has(key: LayerKey): boolean {
    return this.#entries.has(key);
  }

  get(key: LayerKey): OpenLayer | undefined {
    return this.#entries.get(key);
  }

  /** In the order in which they were opened. */
  entries(): IterableIterator<[LayerKey, OpenLayer]> {
    return this.#entries.entries();
  }

  /** The mounted layers. */
  get mounted(): Layer[] {
    return [...this.#entries.values()].flatMap(({ mounted }) => mounted ?? []);
  }

  /** The state of the mounted layers, in the order of opening. */
  async status(): Promise<LayerStatus[]> {
    const layers: LayerStatus[] = [];
    for (const { mounted, mountedMs = 0, references, users } of this.#entries.values()) {
      if (mounted === undefined) continue;
      const status = await mounted.status();
      layers.push({ ...status, references: [...references], mountedMs, mounts: users });
      await setImmediate(); // a layer can have a million chunks
    }
    return layers;
  }

  /** Adds a user to a layer, which is opened unless it is open. `signal` aborts when it has no users any more. */
  use(key: LayerKey, open: (signal: AbortSignal) => Promise<Layer>): OpenLayer {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      const abort = new AbortController();
      entry = { layer: open(abort.signal), abort, users: 0, references: new Set() };
      this.#entries.set(key, entry);
    }
    entry.users++;
    return entry;
  }

  /** Notes that a layer was mounted for an image. */
  noteMount(entry: OpenLayer, layer: Layer, reference: string, uses: UseHistory, isRestored: boolean): void {
    entry.mounted = layer;
    entry.mountedMs ??= Date.now();
    if (entry.references.size < maxReferences) entry.references.add(reference);
    entry.use ??= uses.begin(layer, entry.references, isRestored);
  }

  /** Removes a user: a layer without users is closed. */
  async release(key: LayerKey, entry: OpenLayer): Promise<void> {
    entry.users--;
    if (entry.users > 0 || this.#entries.get(key) !== entry) return;
    this.#entries.delete(key);
    entry.abort.abort(new LazypullError('Canceled', 'No caller waits for the layer any more'));
    const closing = entry.layer
      .then(async (layer) => {
        this.#onClose(layer);
        await entry.use?.end();
        return layer.close();
      })
      .catch(() => undefined) // it never opened, which its users know
      .then(() => {
        this.#closing.delete(key);
      });
    this.#closing.set(key, closing);
    await closing;
  }

  /** Resolves when no operation uses the files of a layer that was open. */
  async closed(key: LayerKey): Promise<void> {
    await this.#closing.get(key);
  }

  /** As `CacheUsers.whileClosed`. */
  async whileClosed<T>(key: LayerKey, action: () => Promise<T>): Promise<T | undefined> {
    await this.#closing.get(key);
    if (this.#entries.has(key) || this.#closing.has(key)) return undefined;
    const done = action();
    const over = done.then(
      () => void this.#closing.delete(key),
      () => void this.#closing.delete(key),
    );
    this.#closing.set(key, over);
    return done;
  }

  /** Writes the state of each of them for the next life. */
  async sync(): Promise<void> {
    for (const entry of this.#entries.values()) await (await entry.layer.catch(() => undefined))?.sync();
  }

  /** Closes all, even those with users. */
  async close(): Promise<void> {
    for (const entry of this.#entries.values()) {
      const layer = await entry.layer.catch(() => undefined);
      await entry.use?.end();
      await layer?.close();
    }
    this.#entries.clear();
    await Promise.all(this.#closing.values());
  }
}
