import type { Layer } from '../layer.ts';
import type { IndexedLayer, KnownLayer } from './indexer.ts';

/**
 * Opens a layer that has just been indexed, and requests what will be read first. @param serve opens a layer whose
 * files are there
 */
export async function openIndexed(
  indexing: Promise<IndexedLayer>,
  serve: (layer: KnownLayer) => Promise<Layer>,
): Promise<Layer> {
  using indexed = await indexing;
  const { known, trace, prefetchBytes, offered } = indexed;
  const layer = await serve(known);
  if (prefetchBytes !== undefined) await layer.prefetch(trace, prefetchBytes, offered.start);
  layer.recordTrace();
  layer.keep();
  const offering = layer.offer(offered.bytes, offered.start);
  indexed.planNext();
  if (offered.start === 0) await offering; // the whole layer is here, and can be mounted without FUSE
  return layer;
}
