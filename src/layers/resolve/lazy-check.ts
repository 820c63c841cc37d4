import type { LayerId } from '../../chunks/layer-id.ts';
import { LazypullError, explain } from '../../errors.ts';
import { Fronts } from '../../fronts/index.ts';
import { indexTailBytes, type LayerFormat } from '../../formats/layer-format.ts';
import type { Blob } from '../../registry/blob/blob.ts';
import { RegistryError } from '../../registry/errors.ts';
import { planLayer } from '../plan/layer-plan.ts';
import { checkStacking, type Stacking } from '../plan/stacking.ts';
import { refusalAdvice, type RefusalReason } from './refusal.ts';
import { refusalReason } from './refusal-reason.ts';

/** Why a layer cannot be lazy, and what to do. */
export interface LayerProblem {
  readonly digest: string;
  readonly reason: RefusalReason;
  readonly message: string;
  readonly advice: string;
}

/**
 * Decides whether a daemon would make layers lazy: it plans their images as a daemon does, and compares each with those
 * below it. It remembers its results.
 */
export class LazyCheck {
  readonly #format: LayerFormat;
  readonly #found = new Map<string, Stacking | LayerProblem>();

  /** @param format format of the layers */
  constructor(format: LayerFormat) {
    this.#format = format;
  }

  /**
   * Reads and plans a layer, once. Rejects only if `signal` aborts. Any other failure is the layer's problem, unless it
   * is one of the source registry, which says nothing about the registry that the layer goes to.
   */
  async read(blob: Pick<Blob, 'tail' | 'range'>, { digest, index }: LayerId, signal: AbortSignal): Promise<void> {
    if (this.#found.has(digest)) return;
    try {
      const raw = await this.#format.fetchIndex(blob, await blob.tail(indexTailBytes, signal), { signal });
      this.#found.set(digest, planLayer(this.#format, raw, { layer: digest, index }, new Fronts().chosen).stacking);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof RegistryError)) this.#found.set(digest, problemOf(digest, error));
    }
  }

  /** Notes why a layer has no index. */
  refuse(digest: string, message: string): void {
    const reason = 'unsupported';
    this.#found.set(digest, { digest, reason, message, advice: refusalAdvice[reason] });
  }

  /**
   * The layers of an image that cannot be lazy, without those that were not read. @param digests digests of its layers,
   * the lowest first
   */
  async ofImage(digests: readonly string[]): Promise<LayerProblem[]> {
    const problems: LayerProblem[] = [];
    const below: string[] = [];
    for (const digest of digests) {
      const found = this.#found.get(digest);
      if (found !== undefined && 'reason' in found) {
        problems.push(found);
        continue;
      }
      if (found === undefined) continue;
      const problem = await this.#stack(digest, found, below);
      if (problem === undefined) below.unshift(digest);
      else problems.push(problem);
    }
    return problems;
  }

  async #stack(digest: string, stacking: Stacking, below: readonly string[]): Promise<LayerProblem | undefined> {
    try {
      await checkStacking(stacking, below, (lower) => Promise.resolve(this.#found.get(lower) as Stacking));
      return undefined;
    } catch (error) {
      if (!(error instanceof LazypullError)) throw error;
      return problemOf(digest, error);
    }
  }
}

function problemOf(digest: string, error: unknown): LayerProblem {
  const reason = refusalReason(error);
  return { digest, reason, message: explain(error), advice: refusalAdvice[reason] };
}
