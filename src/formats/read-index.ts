import type { LayerId } from '../chunks/layer-id.ts';
import type { Blob } from '../registry/blob/blob.ts';
import { indexTailBytes, type LayerFormat, type ParsedIndex } from './layer-format.ts';

/**
 * The index of a layer, verified against its digest, in this thread. Throws the reason if the layer cannot be read
 * lazily.
 */
export async function readIndex(
  format: LayerFormat,
  blob: Pick<Blob, 'tail' | 'range'>,
  { digest, index }: LayerId,
  signal?: AbortSignal,
): Promise<ParsedIndex> {
  const raw = await format.fetchIndex(blob, await blob.tail(indexTailBytes, signal), { signal });
  return format.parse(raw, { layer: digest, index });
}
