import { codeOf, hintOf, LazypullError, messageOf } from '../errors.ts';
import { tocDigestLabel } from '../label-names.ts';
import type { Descriptor } from '../images/manifest.ts';
import type { ResolvedImage } from '../images/resolve.ts';
import type { Blob } from '../registry/blob/blob.ts';
import { formatReference } from '../registry/reference.ts';
import { inspectLayer } from './inspect.ts';
import { refusalAdvice, type RefusalReason, refusalReason } from '../layers/resolve/refusal.ts';

/** The digest of the table of contents of a layer. @throws FailedPrecondition that says what the layer is and what to do, where the manifest has none */
export async function tocDigestOf(image: ResolvedImage, layer: Descriptor, blob: Blob): Promise<string> {
  const tocDigest = layer.annotations[tocDigestLabel];
  if (tocDigest) return tocDigest;
  const { problem } = await inspectLayer(blob, layer);
  const { message, reason } = problem ?? { message: 'The layer has no table of contents', reason: 'no_toc' };
  const what = `Cannot read ${nameOf(image, layer)} without pulling it: ${message}`;
  throw new LazypullError('FailedPrecondition', what, { hint: refusalAdvice[reason] });
}

/** An error of reading a layer as one that names it, and says what to do where that is known. */
export function layerError(image: ResolvedImage, layer: Descriptor, cause: unknown): LazypullError {
  const reason = refusalReason(cause);
  const hint = advised.has(reason) ? refusalAdvice[reason] : hintOf(cause);
  const what = `Cannot read ${nameOf(image, layer)} without pulling it: ${messageOf(cause)}`;
  return new LazypullError(codeOf(cause), what, { cause, hint });
}

/** Reasons whose advice is the same without a daemon. */
const advised: ReadonlySet<RefusalReason> = new Set(['format', 'unsupported', 'content']);

function nameOf({ reference, manifest: { layers } }: ResolvedImage, layer: Descriptor): string {
  return `layer ${layers.indexOf(layer) + 1} of ${layers.length} of "${formatReference(reference)}", ${layer.digest},`;
}
