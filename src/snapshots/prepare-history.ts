import type { RefusalReason } from '../layers/resolve/refusal.ts';
import { sourceOf } from './labels.ts';
import type { Labels } from './snapshot.ts';

/** What became of a layer that a client asked for. */
export interface PrepareOutcome {
  /** As the client named them; '' where it did not. */
  readonly reference: string;
  readonly digest: string;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  /** Undefined for a layer that became lazy. */
  readonly reason: RefusalReason | undefined;
  readonly message: string;
}

/** What is remembered of how many layers. */
const maxOutcomes = 1024;
const maxTextLength = 1024;

/** Remembers for each layer of each image what became of it last. */
export class PrepareHistory {
  readonly #outcomes = new Map<string, PrepareOutcome>();

  /** @param refusal why the client has to pull the layer; undefined where it is lazy */
  note(labels: Labels, refusal?: { readonly reason: RefusalReason; readonly message: string }): void {
    const { reference = '', digest = '' } = sourceOf(labels);
    const outcome: PrepareOutcome = {
      reference: reference.slice(0, maxTextLength),
      digest: digest.slice(0, maxTextLength),
      atMs: Date.now(),
      reason: refusal?.reason,
      message: (refusal?.message ?? '').slice(0, maxTextLength),
    };
    const key = `${outcome.reference}\n${outcome.digest}`;
    this.#outcomes.delete(key);
    this.#outcomes.set(key, outcome);
    if (this.#outcomes.size > maxOutcomes) this.#outcomes.delete(this.#outcomes.keys().next().value!);
  }

  /** Those of the layers with these digests, or all; the latest last. */
  list(digests: readonly string[] = []): PrepareOutcome[] {
    const wanted = new Set(digests);
    return [...this.#outcomes.values()].filter(({ digest }) => wanted.size === 0 || wanted.has(digest));
  }
}
