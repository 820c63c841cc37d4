import type { PrepareOutcome } from '../snapshots/prepare-history.ts';
import type { DaemonStatus, MountedLayer } from './status.ts';

/** A mounted layer with how the daemon got it. */
export interface LayerWithOrigin extends MountedLayer {
  /** As in `PrepareOutcome`: undefined if the layer was here already, or is being pulled. */
  readonly how?: PrepareOutcome['how'];
  readonly howText?: string;
}

/** The state of a daemon with what became of the layers that clients asked for. */
export interface FullStatus extends DaemonStatus {
  readonly layers: readonly LayerWithOrigin[];
  /** The layers that were left to their clients, with the reasons; the latest comes last. */
  readonly left: readonly PrepareOutcome[];
}

/** Combines both answers of a daemon. Of several outcomes for a layer, the latest counts. */
export function withOutcomes(status: DaemonStatus, outcomes: readonly PrepareOutcome[]): FullStatus {
  const last = new Map(outcomes.map((outcome) => [outcome.digest, outcome]));
  const mounted = new Set(status.layers.map(({ digest }) => digest));
  const layers = status.layers.map((layer) => {
    const { how, howText = '' } = last.get(layer.digest) ?? {};
    return how === undefined ? layer : { ...layer, how, howText };
  });
  const left = [...last.values()].filter(({ digest, reason }) => reason !== undefined && !mounted.has(digest));
  return { ...status, layers, left: left.toSorted((a, b) => a.atMs - b.atMs) };
}
