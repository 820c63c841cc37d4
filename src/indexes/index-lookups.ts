import { sha256 } from '../chunks/digest.ts';
import { codeOf, LazypullError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Blob } from '../registry/blob/blob.ts';
import type { IndexArtifact } from './artifact.ts';
import type { IndexOrigin } from './index-origin.ts';
import { type FoundIndex, RemoteIndex } from './found-index.ts';
import type { IndexStore } from './index-store.ts';
import type { IndexTrust } from './index-trust.ts';

/** An index in a registry: its manifest, and its blob, of which nothing was read. */
export interface OfferedIndex {
  readonly index: IndexArtifact;
  readonly blob: Blob;
  /** The tail of the index, compared with its digest, if it came with the manifest. */
  readonly tail?: Buffer | undefined;
}

/** A registry that may have the index of a layer. */
export interface IndexSource {
  /** Its name in messages. */
  readonly name: string;
  readonly kind: 'repository' | 'referrer';
  /** One request. Throws NotFound if there is none. */
  find(layer: string, signal: AbortSignal): Promise<OfferedIndex>;
  /** Opens connections for later questions. */
  open?(signal: AbortSignal): Promise<void>;
}

/** The result of a lookup. */
export type LookupResult =
  | { readonly found: FoundIndex }
  /**
   * `none`, `wrong` and `untrusted` are answers: there is no index, a damaged one, or one that is not trusted here.
   * `why` comes after "there is no index: ".
   */
  | { readonly found: undefined; readonly state: 'none' | 'wrong' | 'untrusted' | 'unknown'; readonly why: string };

/** A question for the index of a layer, under way or answered. */
export interface Lookup {
  /** The name of the source. */
  readonly source: string;
  readonly startedMs: number;
  /**
   * From when a wait for the answer counts: the start, but for a source that has never answered the start of the oldest
   * question. All questions together wait for it once.
   */
  readonly waitsFromMs: number;
  readonly result: Promise<LookupResult>;
  /** Whether there is an index, and only its tail is missing. */
  readonly isOffered: boolean;
  /** Whether the source owed the answer to an earlier question for too long already when it was asked. */
  readonly isBehind: boolean;
}

/** How long one source may take in total. No layer waits so long. */
const maxLookupMs = 15_000;

/** How long a source that failed is not asked. */
const silenceMs = 30_000;

/** How many times of requests are remembered, and the assumed round trip before there is one. */
const maxSamples = 8;
const firstRoundTripMs = 700;
const maxRoundTripMs = 1_000;

/** Asks one source, and never fails. It knows how fast the source answers, and whether it does. */
export class IndexLookups {
  readonly #source: IndexSource;
  readonly #store: IndexStore;
  readonly #trust: IndexTrust;
  readonly #log: Log;
  readonly #roundTripsMs: number[] = [];
  /** When the questions were asked that have no answer yet, the oldest first. */
  readonly #open = new Set<{ readonly ms: number }>();
  #failure: { readonly untilMs: number; readonly why: string } | undefined;

  constructor(source: IndexSource, store: IndexStore, trust: IndexTrust, log: Log) {
    this.#source = source;
    this.#store = store;
    this.#trust = trust;
    this.#log = log;
  }

  get name(): string {
    return this.#source.name;
  }

  /** The time of an immediate answer: the longest of the last ones. */
  get roundTripMs(): number {
    return this.#roundTripsMs.length === 0
      ? firstRoundTripMs
      : Math.min(Math.max(...this.#roundTripsMs), maxRoundTripMs);
  }

  /** Opens connections to the source, if it is not silent. Never rejects: the next question says what is wrong. */
  async open(signal: AbortSignal): Promise<void> {
    if (this.#silence() === undefined) await this.#source.open?.(signal).catch(() => undefined);
  }

  /** @param onPoison is told which index was wrong, and why */
  start(layer: string, signal: AbortSignal, onPoison: (digest: string, reason: string) => void): Lookup {
    const startedMs = performance.now();
    const [oldest] = this.#open;
    const waitsFromMs = this.#roundTripsMs.length === 0 ? (oldest?.ms ?? startedMs) : startedMs;
    const isBehind = oldest !== undefined && startedMs - oldest.ms > maxRoundTripMs;
    let isOffered = false;
    const stop = AbortSignal.any([signal, AbortSignal.timeout(maxLookupMs)]);
    const ask = async (): Promise<LookupResult> => {
      const { index, blob, tail: inlineTail } = await this.#timed(this.#source.find(layer, stop));
      const { digest, tail } = index;
      const origin: IndexOrigin = { kind: this.#source.kind, where: this.#source.name };
      const problem = this.#trust.problemWith(index, origin);
      if (problem !== undefined) {
        this.#log.warn({ layer, source: this.name, digest }, `Not using the index of a layer: it ${problem}`);
        return { found: undefined, state: 'untrusted', why: `the one in "${this.name}" ${problem}` };
      }
      isOffered = true;
      const tailStart = index.size - tail.bytes;
      const bytes = inlineTail ?? Buffer.concat(await Array.fromAsync(blob.range(tailStart, index.size, stop)));
      if (sha256(bytes) !== tail.digest) throw new LazypullError('DataLoss', 'Its tail does not match its digest');
      const parts = { store: this.#store, index, origin, onPoison: (reason: string) => onPoison(digest, reason) };
      return { found: new RemoteIndex(parts, blob, bytes) };
    };
    const silent = this.#silence();
    const result =
      silent === undefined
        ? ask().catch((error: unknown) => this.#failed(layer, error, signal))
        : Promise.resolve({ found: undefined, state: 'unknown', why: silent } as const);
    return {
      source: this.name,
      startedMs,
      waitsFromMs,
      isBehind,
      result,
      get isOffered() {
        return isOffered;
      },
    };
  }

  /** Why the source is not asked now; undefined if it is. */
  #silence(): string | undefined {
    return this.#failure !== undefined && performance.now() < this.#failure.untilMs ? this.#failure.why : undefined;
  }

  async #timed(answer: Promise<OfferedIndex>): Promise<OfferedIndex> {
    const startedMs = performance.now();
    const question = { ms: startedMs };
    this.#open.add(question);
    const answered = (): void => {
      this.#roundTripsMs.push(performance.now() - startedMs);
      if (this.#roundTripsMs.length > maxSamples) this.#roundTripsMs.shift();
      if (this.#failure !== undefined)
        this.#log.info({ source: this.name }, 'The source of layer indexes answers again');
      this.#failure = undefined;
    };
    try {
      const offered = await answer;
      answered();
      return offered;
    } catch (error) {
      if (codeOf(error) === 'NotFound' || codeOf(error) === 'DataLoss') answered();
      throw error;
    } finally {
      this.#open.delete(question);
    }
  }

  /** "There is none" and "it is wrong" are answers. Anything else is said once, until it is over. */
  #failed(layer: string, error: unknown, signal: AbortSignal): LookupResult {
    const code = codeOf(error);
    if (code === 'NotFound') return { found: undefined, state: 'none', why: `"${this.name}" has none` };
    if (code === 'DataLoss') {
      this.#log.warn({ layer, source: this.name, error: messageOf(error) }, 'Not using the index of a layer');
      return { found: undefined, state: 'wrong', why: `the one in "${this.name}" is wrong: ${messageOf(error)}` };
    }
    const why = `"${this.name}" cannot be asked: ${messageOf(error)}`;
    if (signal.aborted) return { found: undefined, state: 'unknown', why };
    if (this.#failure === undefined) {
      this.#log.warn({ source: this.name, error: messageOf(error) }, 'Cannot look up indexes of layers');
    }
    this.#failure = { untilMs: performance.now() + silenceMs, why };
    return { found: undefined, state: 'unknown', why };
  }
}
