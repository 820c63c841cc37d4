/**
 * Layer indexes of lazypull: stored on this machine, shared through a repository, signed. This room knows where an
 * index comes from and whether to trust it. Its content belongs to `formats/`.
 *
 * Begin with `LayerIndexes`, which looks in the places in their order. `index-store.ts` keeps files,
 * `index-repository.ts` and `index-referrers.ts` ask registries, `index-trust.ts` checks signatures.
 */

import { createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { sha256 } from '../chunks/digest.ts';
import { messageOf } from '../errors.ts';
import type { ImageAccess } from '../images/image-access.ts';
import type { Log } from '../log.ts';
import { abortError } from '../registry/errors.ts';
import { type FoundIndex, LocalIndex } from './found-index.ts';
import type { IndexLookups, Lookup, LookupResult } from './index-lookups.ts';
import type { IndexPublisher } from './index-publisher.ts';
import type { IndexStore } from './index-store.ts';
import type { IndexTrust } from './index-trust.ts';
import type { IndexMetrics, SearchResult } from './metrics.ts';
import { OpenConnections } from './open-connections.ts';
import { RecentMap } from '../util/recent-map.ts';

/** The parts of `LayerIndexes`. */
export interface LayerIndexesOptions {
  readonly store: IndexStore;
  readonly trust: IndexTrust;
  /** The team's repository; undefined if there is none. */
  readonly repository: IndexLookups | undefined;
  /** The referrers of an image; undefined if they are not allowed. */
  readonly referrersOf: ((image: ImageAccess) => IndexLookups | undefined) | undefined;
  /** Pushes new indexes to the repository; undefined if that is not wanted. */
  readonly publisher: IndexPublisher | undefined;
  /** How long a layer waits for registries, in addition to a round trip; without one while a registry is behind. */
  readonly lookupMs: number;
  readonly metrics: IndexMetrics;
  readonly log: Log;
}

/** How long to wait for a push by default. */
const pushedMs = 60_000;

/** How long it is remembered that there is no index, or that there is one which is not in the store yet. */
const noneMs = 300_000;
const foundMs = 60_000;

/** An existing index is worth this wait for its tail: without it, the whole layer is pulled. */
const offeredMs = 5_000;

/** Layers of one image that are looked for at once. */
const maxLayers = 512;

/** Layers whose lookups are remembered, and indexes that were wrong. */
const maxRemembered = 4_096;

/** A digest that no layer has. */
const nobodysLayer = `sha256:${'0'.repeat(64)}`;

/** How long after it was found an index is brought into the store. Its user has other things to fetch first. */
const keepDelayMs = 3_000;

/**
 * Finds the indexes of layers: in the node's store, in the team's repository, beside the image. No wait is longer than
 * its bound, and results are remembered.
 */
export class LayerIndexes implements AsyncDisposable {
  readonly store: IndexStore;
  readonly #options: LayerIndexesOptions;
  readonly #stop = new AbortController();
  readonly #lookups = new RecentMap<Lookup[]>(maxRemembered);
  readonly #reasons = new RecentMap<string>(maxRemembered);
  /** Layers for which a place did not answer, and why. */
  readonly #unanswered = new RecentMap<string>(maxRemembered);
  /** By the digests of indexes. */
  readonly #poisoned = new RecentMap<string>(maxRemembered);
  /** Layers with an unused index in the repository: one that is made here replaces it. */
  readonly #wrong = new RecentMap<true>(maxRemembered);
  /** How the latest searches were counted, by layer. */
  readonly #counted = new RecentMap<SearchResult>(maxRemembered);
  readonly #connections: OpenConnections | undefined;
  #keeping: Promise<void> = Promise.resolve();

  constructor(options: LayerIndexesOptions) {
    const { store, repository } = options;
    this.store = store;
    this.#options = options;
    this.#connections = repository && new OpenConnections((signal) => repository.open(signal));
  }

  /**
   * Asks the repository something, so that there are connections to it, and the log says if it cannot be asked. Then
   * pushes what an earlier life has left. Code that serves clients must not wait for it.
   */
  async warmUp(): Promise<void> {
    await this.#options.repository?.start(nobodysLayer, this.#stop.signal, () => undefined).result;
    await this.#connections?.open();
    this.#connections?.expect();
    await this.#options.publisher?.resume(async (layer) => {
      const kept = await this.store.find(layer);
      return kept?.origin.kind === 'made' ? kept : undefined;
    });
  }

  /**
   * Begins to look for the indexes of all layers of an image, and does not wait.
   *
   * @param layers digests; those that are not sha256 are ignored
   * @param image that they are layers of, if it is known
   */
  lookAhead(layers: readonly string[], image?: ImageAccess): void {
    this.#connections?.expect();
    for (const layer of layers.slice(0, maxLayers)) {
      void this.findHere(layer).then(
        (here) => (here === undefined ? void this.#lookup(layer, image) : this.#count(layer, 'here')),
        () => undefined,
      );
    }
  }

  /**
   * The index of a layer that may be used; undefined if there is none in time. Failures of registries do not make it
   * reject; `reasonFor` has them.
   *
   * @throws Canceled if `signal` aborts; Unavailable if the disk cannot be read
   */
  async find(layer: string, image?: ImageAccess, signal?: AbortSignal): Promise<FoundIndex | undefined> {
    const here = await this.findHere(layer);
    if (here !== undefined) return here;
    const lookups = this.#lookup(layer, image);
    const whys: string[] = [];
    this.#unanswered.delete(layer);
    for (const lookup of lookups) {
      const result = await this.#inTime(lookup, signal);
      if (result.found !== undefined) return this.#passed(result.found);
      if (result.state === 'unknown') this.#unanswered.set(layer, result.why);
      if (result.state === 'wrong') this.#wrong.set(layer, true);
      whys.push(result.why);
    }
    if (whys.length > 0) this.#reasons.set(layer, `there is no layer index: ${whys.join('; ')}`);
    return undefined;
  }

  /** The same for indexes on this machine. It asks no registry. */
  async findHere(layer: string): Promise<FoundIndex | undefined> {
    const kept = await this.store.find(layer);
    const problem = kept && (this.#poisoned.get(kept.digest) ?? this.#options.trust.problemWith(kept, kept.origin));
    if (kept === undefined) this.#reasons.set(layer, 'there is no layer index here');
    else if (problem !== undefined)
      this.#reasons.set(layer, `the layer index that is kept here is not used: it ${problem}`);
    else this.#reasons.delete(layer);
    if (kept === undefined || problem !== undefined) return undefined;
    return new LocalIndex(this.store, kept, (reason) => this.#poison(layer, kept.digest, reason));
  }

  /**
   * Why the last search for the index of a layer found none, as a sentence without a capital; undefined if it found
   * one, or if there was no search.
   */
  reasonFor(layer: string): string | undefined {
    return this.#reasons.get(layer);
  }

  /** Which place did not answer in the last search for the index of a layer, and why; undefined if all have. */
  unansweredFor(layer: string): string | undefined {
    return this.#unanswered.get(layer);
  }

  /**
   * Stores an index that was made here while the whole layer was verified, and pushes it if that is wanted.
   *
   * @param file path of the index, which is copied
   * @param tailBytes how many of its last bytes a mount needs
   */
  async made(
    layer: string,
    file: { readonly path: string; readonly size: number; readonly tailBytes: number },
  ): Promise<FoundIndex> {
    const { path, size, tailBytes } = file;
    const tail = Buffer.concat(
      await Array.fromAsync(createReadStream(path, { start: size - tailBytes }) as AsyncIterable<Buffer>),
    );
    const kept = await this.store.keep(
      { layer, tail: { bytes: tailBytes, digest: sha256(tail) }, origin: { kind: 'made', where: '' }, size },
      createReadStream(path) as AsyncIterable<Buffer>,
    );
    this.#reasons.delete(layer);
    this.#lookups.delete(layer);
    await this.#options.publisher?.add(kept, this.#wrong.has(layer));
    return new LocalIndex(this.store, kept, (reason) => this.#poison(layer, kept.digest, reason));
  }

  /** Settles once nothing waits to be pushed, or after `withinMs`. @returns whether nothing waits */
  async pushed(withinMs = pushedMs): Promise<boolean> {
    return (await this.#options.publisher?.idle(withinMs)) ?? true;
  }

  /** Ends everything that is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#connections?.[Symbol.asyncDispose]();
    await this.#options.publisher?.[Symbol.asyncDispose]();
    await this.#keeping;
  }

  /** The lookups of a layer: present or remembered ones, else new ones. */
  #lookup(layer: string, image: ImageAccess | undefined): readonly Lookup[] {
    const known = this.#lookups.get(layer);
    if (known !== undefined) return known;
    const { repository, referrersOf } = this.#options;
    const sources = [repository, image === undefined ? undefined : referrersOf?.(image)];
    const poison = (digest: string, reason: string): void => this.#poison(layer, digest, reason);
    const lookups = sources.flatMap((source) => source?.start(layer, this.#stop.signal, poison) ?? []);
    if (lookups.length === 0) return lookups;
    this.#lookups.set(layer, lookups, noneMs);
    const { metrics } = this.#options;
    void Promise.all(lookups.map(({ result }) => result)).then((results) => {
      metrics.lookupSeconds.observe((performance.now() - lookups[0]!.startedMs) / 1000);
      this.#count(layer, searchResult(results));
      if (this.#lookups.get(layer) !== lookups) return;
      const isFound = results.some(({ found }) => found !== undefined);
      if (isFound) this.#lookups.set(layer, lookups, foundMs);
      else if (results.some((result) => result.found === undefined && result.state === 'unknown')) {
        this.#lookups.delete(layer);
      }
    });
    return lookups;
  }

  /** The result of a lookup, or that it did not come in time. */
  async #inTime(lookup: Lookup, signal: AbortSignal | undefined): Promise<LookupResult> {
    const { lookupMs, repository } = this.#options;
    const why = `"${lookup.source}" did not answer in time`;
    const late = { found: undefined, state: 'unknown', why } as const;
    using timer = new Deadline(signal);
    const wait = (ms: number): Promise<LookupResult> =>
      Promise.race([lookup.result, timer.after(lookup.waitsFromMs + ms - performance.now()).then(() => late)]);
    const roundTripMs = lookup.isBehind ? 0 : (repository?.roundTripMs ?? 0);
    const first = await wait(lookupMs + roundTripMs);
    return first === late && lookup.isOffered ? await wait(offeredMs) : first;
  }

  /** Counts a search, once for all that ask for a layer at the same time. */
  #count(layer: string, result: SearchResult): void {
    if (this.#counted.get(layer) === result) return;
    this.#counted.set(layer, result, foundMs);
    this.#options.metrics.searches.add(1, { result });
  }

  /** An index in a registry, unless it was wrong before. It comes into the store after a while. */
  #passed(found: FoundIndex): FoundIndex | undefined {
    const problem = this.#poisoned.get(found.digest);
    if (problem !== undefined) {
      this.#reasons.set(found.layer, `the layer index in "${found.origin.where}" is not used: it ${problem}`);
      return undefined;
    }
    this.#reasons.delete(found.layer);
    this.#keepLater(found);
    return found;
  }

  #keepLater(found: FoundIndex): void {
    const dueMs = performance.now() + keepDelayMs;
    this.#keeping = this.#keeping.then(async () => {
      try {
        const leftMs = Math.max(0, dueMs - performance.now());
        await sleep(leftMs, undefined, { signal: this.#stop.signal, ref: false });
        if (found.path === undefined) await found.whole(this.#stop.signal);
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        this.#options.log.warn({ layer: found.layer, error: messageOf(error) }, 'Cannot keep the index of a layer');
      }
    });
  }

  #poison(layer: string, digest: string, reason: string): void {
    const { log } = this.#options;
    log.error({ layer, index: digest, reason: `it ${reason}` }, 'No longer using the index of a layer');
    this.#poisoned.set(digest, reason);
    this.#wrong.set(layer, true);
    this.#lookups.delete(layer);
    this.#reasons.set(layer, `its layer index is not used: it ${reason}`);
    void this.store.remove(layer).catch((error: unknown) => {
      log.warn({ layer, error: messageOf(error) }, 'Cannot remove the index of a layer');
    });
  }
}

/** The outcome of a search that asked registries. */
function searchResult(results: readonly LookupResult[]): SearchResult {
  const found = results.find((result) => result.found !== undefined)?.found;
  if (found !== undefined) return found.origin.kind === 'referrer' ? 'referrer' : 'repository';
  const states = results.map((result) => (result.found === undefined ? result.state : ''));
  if (states.includes('wrong') || states.includes('untrusted')) return 'refused';
  return states.includes('unknown') ? 'failed' : 'none';
}

/** Timers of one wait, which end with it. */
class Deadline implements Disposable {
  readonly #stop = new AbortController();
  readonly #caller: AbortSignal | undefined;

  constructor(caller: AbortSignal | undefined) {
    this.#caller = caller;
  }

  async after(ms: number): Promise<void> {
    const signal = this.#caller === undefined ? this.#stop.signal : AbortSignal.any([this.#stop.signal, this.#caller]);
    try {
      await sleep(Math.max(0, ms), undefined, { signal });
    } catch {
      if (this.#caller?.aborted) throw abortError(this.#caller);
    }
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }
}
