import type { Spans } from '../spans.ts';
import { sourceOf } from './labels.ts';
import type { RemoteOutcome } from './remote-layers.ts';
import type { Labels } from './snapshot.ts';

/** Calls `prepare` as a span that tells the layer and the outcome. */
export function tracedPrepare(
  spans: Spans,
  labels: Labels,
  traceparent: string | undefined,
  prepare: () => Promise<RemoteOutcome>,
): Promise<RemoteOutcome> {
  const { reference = '', digest = '' } = sourceOf(labels);
  const work: Parameters<typeof spans.within<RemoteOutcome>>[2] = async (span) => {
    const outcome = await prepare();
    const { refusal, origin } = outcome;
    if (refusal !== undefined) span.set({ 'lazypull.outcome': 'refused', 'lazypull.reason': refusal.reason });
    else span.set({ 'lazypull.outcome': 'lazy', 'lazypull.how': origin?.how ?? 'mounted' });
    return outcome;
  };
  return spans.within('Prepare', { 'lazypull.image': reference, 'lazypull.layer': digest }, work, traceparent);
}
