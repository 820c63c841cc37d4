import { noSpans, type Spans } from '../../spans.ts';
import { WaitClock } from './wait-clock.ts';

/** A read that waits for so long is a span. */
export const slowReadMs = 250;

export interface LayerWaitsOptions {
  readonly record: { readonly digest: string; readonly reference: string };
  readonly spans?: Spans | undefined;
}

/** The waits of the readers of a layer. The long ones are spans. */
export class LayerWaits extends WaitClock {
  readonly #options: LayerWaitsOptions;

  constructor(options: LayerWaitsOptions) {
    super();
    this.#options = options;
  }

  /** As `end`, of a read of the layer's image from `offset` on. */
  endRead(startedMs: number, offset: number, bytes: number): void {
    const ms = this.end(startedMs);
    if (ms < slowReadMs) return;
    const { record, spans = noSpans } = this.#options;
    spans.past('read', ms, {
      'lazypull.image': record.reference,
      'lazypull.layer': record.digest,
      'lazypull.offset': offset,
      'lazypull.bytes': bytes,
    });
  }
}
