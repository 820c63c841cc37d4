import type { LayerHow, LayerOrigin } from '../layers/layer-origin.ts';
import type { RefusalReason } from '../layers/resolve/refusal.ts';
import { sourceOf } from './labels.ts';
import type { Labels } from './snapshot.ts';

/** The outcome of a Prepare for a layer. */
export interface PrepareOutcome {
  /** As the client named the image; '' if it did not. */
  readonly reference: string;
  readonly digest: string;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  /** Undefined if the layer became lazy. */
  readonly reason: RefusalReason | undefined;
  /** The text of a refusal. */
  readonly message: string;
  /** How the daemon got a layer that became lazy; undefined if it already had it. */
  readonly how?: LayerHow | undefined;
  /** The same in words, for people. */
  readonly howText?: string;
}

/** How many layers are remembered. */
const maxOutcomes = 1024;
const maxTextLength = 1024;

function cut({ reference = '', digest = '' }: ReturnType<typeof sourceOf>): readonly [string, string] {
  return [reference.slice(0, maxTextLength), digest.slice(0, maxTextLength)];
}

/** Remembers the last outcome for each layer of each image. */
export class PrepareHistory {
  readonly #outcomes = new Map<string, PrepareOutcome>();

  /**
   * @param refusal why the client has to pull the layer; undefined if it is lazy
   * @param origin how the daemon got it; undefined if it already had it
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

  /** The outcomes of the layers with these digests, or all of them; the latest comes last. */
  list(digests: readonly string[] = []): PrepareOutcome[] {
    const wanted = new Set(digests);
    return [...this.#outcomes.values()].filter(({ digest }) => wanted.size === 0 || wanted.has(digest));
  }
}
