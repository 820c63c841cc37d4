import { codeOf, hintOf, LazypullError, messageOf } from '../errors.ts';
import { type LayerId, unindexed } from '../chunks/layer-id.ts';
import { Formats } from '../formats/index.ts';
import type { LayerFormat } from '../formats/layer-format.ts';
import type { Descriptor } from '../images/manifest.ts';
import { isForeignLayer, isLayer } from '../images/media-types.ts';
import type { ResolvedImage } from '../images/resolve.ts';
import type { Blob } from '../registry/blob/blob.ts';
import { formatReference } from '../registry/reference.ts';
import { inspectLayer } from './inspect.ts';
import { refusalAdvice, type RefusalReason } from '../layers/resolve/refusal.ts';
import { refusalReason } from '../layers/resolve/refusal-reason.ts';

/**
 * How to read a layer of an image: its format, and its identity for that. @throws FailedPrecondition that says what the
 * layer is and what to do, if the manifest does not name an index
 */
export async function lazyLayer(
  image: ResolvedImage,
  layer: Descriptor,
  blob: Blob,
  formats = new Formats(),
): Promise<{ format: LayerFormat; id: LayerId }> {
  const found = formats.identify(layer.annotations);
  if (found !== undefined) return { format: found.format, id: { digest: layer.digest, index: found.index } };
  const { problem } = await inspectLayer(blob, layer);
  const { message, reason } = problem ?? { message: 'The layer has no table of contents', reason: 'no_toc' };
  const what = `Cannot read ${nameOf(image, layer)} without pulling it: ${message}`;
  throw new LazypullError('FailedPrecondition', what, { hint: reason === 'no_toc' ? orMount : refusalAdvice[reason] });
}

const orMount = 'convert the image with "lazypull convert", or have "lazypull mount" pull it and show its files';

/**
 * The same for a daemon, which can also read a layer that names no index. @throws FailedPrecondition if it is not a
 * layer of files
 */
export async function daemonLayer(
  image: ResolvedImage,
  layer: Descriptor,
  blob: Blob,
  formats = new Formats(),
): Promise<{ format: LayerFormat; id: LayerId }> {
  if (!isPlainLayer(layer, formats)) return lazyLayer(image, layer, blob, formats);
  return { format: formats.unindexed, id: unindexed(layer.digest) };
}

/** Whether a layer is one of files whose manifest names no index. */
export function isPlainLayer({ annotations, mediaType }: Descriptor, formats: Formats): boolean {
  return formats.identify(annotations) === undefined && isLayer(mediaType) && !isForeignLayer(mediaType);
}

/** An error of reading a layer, turned into one that names the layer, and says what to do if that is known. */
export function layerError(image: ResolvedImage, layer: Descriptor, cause: unknown): LazypullError {
  const reason = refusalReason(cause);
  const hint = advised.has(reason) ? refusalAdvice[reason] : hintOf(cause);
  const what = `Cannot read ${nameOf(image, layer)} without pulling it: ${messageOf(cause)}`;
  return new LazypullError(codeOf(cause), what, { cause, hint });
}

/** Reasons with the same advice if there is no daemon. */
const advised: ReadonlySet<RefusalReason> = new Set(['format', 'unsupported', 'content']);

function nameOf({ reference, manifest: { layers } }: ResolvedImage, layer: Descriptor): string {
  return `layer ${layers.indexOf(layer) + 1} of ${layers.length} of "${formatReference(reference)}", ${layer.digest},`;
}
