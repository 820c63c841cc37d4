import { join } from 'node:path';
import { type Digest, digestOfHex, hexOf } from './digest.ts';

/** What a layer is: mounts, images and clients that name the same one share it. */
export interface LayerId {
  /** Of the compressed layer. */
  readonly digest: Digest;
  /** Of the index that it is read by: two indexes of one blob may say different things of it. */
  readonly index: Digest;
}

/**
 * The layer of a blob of which no manifest names an index. Its own digest stands for that: whatever index it is read by, and whether it was pulled whole, that digest
 * alone decides what is in it.
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

/** Where the files of a layer are, below the directory of all layers. @throws InvalidArgument unless both are sha256 digests */
export function layerPath({ digest, index }: LayerId): string {
  return join(hexOf(digest, 'layer digest'), hexOf(index, 'index digest'));
}

/** The layer whose files are in `<digest>/<index>`, both the hex of digests. */
export function layerIdOfPath(digest: string, index: string): LayerId {
  return { digest: digestOfHex(digest), index: digestOfHex(index) };
}
