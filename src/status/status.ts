import type { LayerStatus } from '../layers/layer-status.ts';
import type { PrepareOutcome } from '../snapshots/outcomes.ts';

/** What a daemon is doing. */
export interface DaemonStatus {
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  readonly layers: readonly LayerStatus[];
  readonly cache: { readonly bytes: number; readonly layers: number };
}

/** What the status service asks: a daemon. */
export interface StatusSource {
  status(): Promise<DaemonStatus>;
  /** What became of the layers with these digests, or of all, the latest last. */
  outcomes(digests: readonly string[]): readonly PrepareOutcome[];
}
