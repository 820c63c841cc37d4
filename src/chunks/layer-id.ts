import { join } from 'node:path';
import { type Digest, digestOfHex, hexOf } from './digest.ts';

/** The identity of a layer. Mounts, images and clients that name the same one share it. */
export interface LayerId {
  /** The digest of the compressed layer. */
  readonly digest: Digest;
  /** The digest of its index: two indexes of one blob may describe it differently. */
  readonly index: Digest;
}

/**
 * The identity of a blob for which no manifest names an index. Its own digest stands for the index: it alone decides
 * what is in the layer, whatever index is used to read it, and even if it was pulled whole.
 */
export function unindexed(digest: Digest): LayerId {
  return { digest, index: digest };
}

export function isUnindexed({ digest, index }: LayerId): boolean {
  return digest === index;
}

/** A `LayerId` as a key of maps. */
export type LayerKey = string;

export function layerKey({ digest, index }: LayerId): LayerKey {
  return `${digest}\n${index}`;
}

export function layerIdOfKey(key: LayerKey): LayerId {
  const end = key.indexOf('\n');
  return { digest: key.slice(0, end), index: key.slice(end + 1) };
}

/**
 * The directory of a layer's files, below the directory of all layers. @throws InvalidArgument unless both are sha256
 * digests
 */
export function layerPath({ digest, index }: LayerId): string {
  return join(hexOf(digest, 'layer digest'), hexOf(index, 'index digest'));
}

/** The layer whose files are in `<digest>/<index>`, both as hex. */
export function layerIdOfPath(digest: string, index: string): LayerId {
  return { digest: digestOfHex(digest), index: digestOfHex(index) };
}
