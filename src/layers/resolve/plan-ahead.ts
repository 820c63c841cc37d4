import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../chunks/digest.ts';
import type { LayerId } from '../../chunks/layer-id.ts';
import type { LayerFormat } from '../../formats/layer-format.ts';
import { LayerDirectory } from '../store/layer-directory.ts';
import type { Planned } from '../store/plan-files.ts';
import { ampleMemory, type MemoryBudget } from '../memory-budget.ts';
import type { Tail } from './blob-tails.ts';
import { makeDirectory } from '../../kernel/make-directory.ts';

/** How long a finished plan waits to be asked for. */
const keepMs = 20_000;

/** A layer whose image has been planned. */
export interface PlannedLayer {
  readonly tail: Tail;
  /** `RawIndex.dataEnd`. */
  readonly dataEnd: number;
  readonly planned: Planned;
  /** When the whole index had arrived, in `performance.now()` milliseconds. */
  readonly fetchedMs: number;
}

/** How many layers are planned before they are asked for, of all images together, and the memory of their plans. */
export type PlanAheadBounds = Pick<MemoryBudget, 'plansAhead' | 'plansAheadBytes'>;

/** A layer that will be asked for, and the format of the layers beside it. */
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
  /** Resolves to undefined if that failed. */
  readonly plan: Promise<PlannedLayer | undefined>;
  readonly path: string;
  /** Whether planning has begun: the end of the blob is here. */
  isBegun: boolean;
  /** Memory of the finished plan. */
  bytes: number;
  timer?: NodeJS.Timeout;
}

/**
 * Plans of layers that a client will ask for next: it prepares the layers of an image one after another, and names the
 * digests of those that follow. While one is mounted, the next one is planned in a directory of its own. The digest of
 * its table of contents comes with the client's next call.
 */
export class PlanAhead {
  readonly #plan: Plan;
  readonly #path: string;
  readonly #bounds: PlanAheadBounds;
  readonly #entries = new Map<string, Entry>();
  #next = 0;
  #isClosed = false;

  /** @param path a directory for nothing else, which is made if it is needed */
  constructor(plan: Plan, path: string, bounds: PlanAheadBounds = ampleMemory) {
    this.#plan = plan;
    this.#path = path;
    this.#bounds = bounds;
  }

  has(digest: string): boolean {
    return this.#entries.has(digest);
  }

  /** Whether no more plans should begin. */
  get isFull(): boolean {
    const bytes = [...this.#entries.values()].reduce((sum, entry) => sum + entry.bytes, 0);
    return this.#entries.size >= this.#bounds.plansAhead || bytes >= this.#bounds.plansAheadBytes;
  }

  /** Plans a layer without a plan. If planning fails, the layer is planned again when it is asked for. */
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
   * Moves a finished plan into the layer's directory, which must be empty. Undefined if there is none, or if it is by
   * another index: then the directory is still empty.
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
    makeDirectory(path, 0o700);
    return this.#plan(layer, tail, new LayerDirectory(path), isAwaited);
  }

  async #drop(digest: string, entry: Entry): Promise<void> {
    this.#entries.delete(digest);
    await removePlans(entry.path);
  }
}

/** Memory of a plan: the end of the blob, and arrays in one buffer. */
function bytesOf({ tail, planned }: PlannedLayer): number {
  return tail.data.length + planned.table.digest.buffer.byteLength;
}

/** Removes plans that are not needed any more, as far as the disk lets it: the next life removes the rest. */
export async function removePlans(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch(() => undefined);
}
