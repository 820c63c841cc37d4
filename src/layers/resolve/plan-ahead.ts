import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../chunks/digest.ts';
import type { LayerId } from '../../chunks/layer-id.ts';
import type { LayerFormat } from '../../formats/layer-format.ts';
import { LayerDirectory } from '../store/layer-directory.ts';
import type { Planned } from '../store/plan-files.ts';
import { ampleMemory, type MemoryBudget } from '../memory-budget.ts';
import type { Tail } from './blob-tails.ts';

/** How long a plan, once it is there, waits to be asked for. */
const keepMs = 20_000;

/** A layer of which the disk has been planned. */
export interface PlannedLayer {
  readonly tail: Tail;
  /** Of `RawIndex`. */
  readonly dataEnd: number;
  readonly planned: Planned;
  /** When the whole index was here, in `performance.now()` milliseconds. */
  readonly fetchedMs: number;
}

/**
 * How many layers are planned before they are asked for, of all images together, and how much memory their plans take.
 */
export type PlanAheadBounds = Pick<MemoryBudget, 'plansAhead' | 'plansAheadBytes'>;

/** A layer that somebody will ask for, and the format that those beside it have. */
export type GuessedLayer = { readonly digest: Digest; readonly format: LayerFormat };

/**
 * Plans a layer in an empty directory, whatever the digest of its index is. `isAwaited` tells whether a client waits
 * for it.
 */
export type Plan = (
  layer: GuessedLayer,
  tail: Tail,
  directory: LayerDirectory,
  isAwaited: () => boolean,
) => Promise<PlannedLayer>;

interface Entry {
  /** Undefined where that did not work. */
  readonly plan: Promise<PlannedLayer | undefined>;
  readonly path: string;
  /** Whether that has begun: the end of the blob is here. */
  isBegun: boolean;
  /** Memory that the plan takes, once it is there. */
  bytes: number;
  timer?: NodeJS.Timeout;
}

/**
 * Plans of layers that a client will ask for next: it prepares the layers of an image one after another, and tells the
 * digests of those that follow. While one is mounted, the next one is planned in a directory of its own; what its table
 * of contents must be the client tells when it asks.
 */
export class PlanAhead {
  readonly #plan: Plan;
  readonly #path: string;
  readonly #bounds: PlanAheadBounds;
  readonly #entries = new Map<string, Entry>();
  #next = 0;
  #isClosed = false;

  /** @param path a directory for nothing else, which is made when it is needed */
  constructor(plan: Plan, path: string, bounds: PlanAheadBounds = ampleMemory) {
    this.#plan = plan;
    this.#path = path;
    this.#bounds = bounds;
  }

  has(digest: string): boolean {
    return this.#entries.has(digest);
  }

  /** Whether no more should be begun. */
  get isFull(): boolean {
    const bytes = [...this.#entries.values()].reduce((sum, entry) => sum + entry.bytes, 0);
    return this.#entries.size >= this.#bounds.plansAhead || bytes >= this.#bounds.plansAheadBytes;
  }

  /** Plans a layer that is none of those. Who asks for one that could not be planned plans it then. */
  begin(layer: GuessedLayer, tail: Promise<Tail>): void {
    const { digest } = layer;
    const path = join(this.#path, String(this.#next++));
    const isTaken = (): boolean => this.#entries.get(digest) !== entry;
    const planning = tail.then((came) => {
      if (this.#isClosed) return undefined;
      entry.isBegun = true;
      return this.#planAt(path, layer, came, isTaken);
    });
    const entry: Entry = { plan: planning.catch(() => undefined), path, isBegun: false, bytes: 0 };
    this.#entries.set(digest, entry);
    void entry.plan.then((plan) => {
      entry.bytes = plan === undefined ? 0 : bytesOf(plan);
      if (!isTaken()) entry.timer = setTimeout(() => void this.#drop(digest, entry), keepMs).unref();
    });
  }

  /**
   * Moves what was planned of a layer into the layer's directory, which is empty. Undefined where there is nothing, or
   * it is by another index: then that directory is empty still.
   */
  async take({ digest, index }: LayerId, directory: LayerDirectory): Promise<PlannedLayer | undefined> {
    const entry = this.#entries.get(digest);
    if (entry === undefined) return undefined;
    this.#entries.delete(digest);
    clearTimeout(entry.timer);
    const plan = await entry.plan;
    if (plan?.planned.indexDigest === index) {
      await rename(entry.path, directory.path);
      return plan;
    }
    await removePlans(entry.path);
    return undefined;
  }

  /** Ends after the plans that have begun, and removes everything. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const { timer } of entries) clearTimeout(timer);
    await Promise.all(entries.filter(({ isBegun }) => isBegun).map(({ plan }) => plan));
    await removePlans(this.#path);
  }

  async #planAt(path: string, layer: GuessedLayer, tail: Tail, isAwaited: () => boolean): Promise<PlannedLayer> {
    await mkdir(path, { recursive: true, mode: 0o700 });
    return this.#plan(layer, tail, new LayerDirectory(path), isAwaited);
  }

  async #drop(digest: string, entry: Entry): Promise<void> {
    this.#entries.delete(digest);
    await removePlans(entry.path);
  }
}

/** What a plan keeps: the end of the blob, and arrays that lie in one buffer. */
function bytesOf({ tail, planned }: PlannedLayer): number {
  return tail.data.length + planned.table.digest.buffer.byteLength;
}

/**
 * Removes plans that nobody asks for any more, as far as the disk lets it: what is left is removed by the next life.
 */
export async function removePlans(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch(() => undefined);
}
