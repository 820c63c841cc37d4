import type { LayerHow, LayerOrigin } from '../layers/layer-origin.ts';
import type { RefusalReason } from '../layers/resolve/refusal.ts';
import { sourceOf } from './labels.ts';
import type { Labels } from './snapshot.ts';

/** What became of a layer that a client asked for. */
export interface PrepareOutcome {
  /** As the client named them; '' if it did not. */
  readonly reference: string;
  readonly digest: string;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  /** Undefined for a layer that became lazy. */
  readonly reason: RefusalReason | undefined;
  /** Of a refusal. */
  readonly message: string;
  /** How the daemon has a layer that became lazy; undefined if it was here already. */
  readonly how?: LayerHow | undefined;
  /** The same in words, for people. */
  readonly howText?: string;
}

/** What is remembered of how many layers. */
const maxOutcomes = 1024;
const maxTextLength = 1024;

function cut({ reference = '', digest = '' }: ReturnType<typeof sourceOf>): readonly [string, string] {
  return [reference.slice(0, maxTextLength), digest.slice(0, maxTextLength)];
}

/** Remembers for each layer of each image what became of it last. */
export class PrepareHistory {
  readonly #outcomes = new Map<string, PrepareOutcome>();

  /**
   * @param refusal why the client has to pull the layer; undefined if it is lazy
   * @param origin how the daemon has it; undefined if it was here already
   */
  note(
    labels: Labels,
    refusal?: { readonly reason: RefusalReason; readonly message: string },
    origin?: LayerOrigin,
  ): void {
    const [reference, digest] = cut(sourceOf(labels));
    const key = `${reference}\n${digest}`;
    const before = refusal === undefined ? this.#outcomes.get(key) : undefined;
    const outcome: PrepareOutcome = {
      reference,
      digest,
      atMs: Date.now(),
      reason: refusal?.reason,
      message: (refusal?.message ?? '').slice(0, maxTextLength),
      how: origin?.how ?? before?.how,
      howText: (origin?.text ?? before?.howText ?? '').slice(0, maxTextLength),
    };
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
