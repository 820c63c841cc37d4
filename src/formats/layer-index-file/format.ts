import { LazypullError } from '../../errors.ts';
import type { LayerFormat, RawIndex } from '../layer-format.ts';
import { buildPlainTree } from '../tree.ts';
import { decodeTail } from './decode.ts';
import { tailStart } from './footer.ts';
import { spansCodec } from './spans-codec.ts';

/** A longer tail is not fetched, in bytes. */
const maxParsedTailBytes = 128 << 20;

/**
 * Layers whose manifest names no index, read by lazypull's own layer index (docs/layer-index.md), a file beside the
 * blob. No label names it: it belongs to the digest of the layer, so the digest of its index is that of the layer.
 */
export const layerIndexFormat: LayerFormat = {
  name: 'layer-index',
  identify: () => undefined,
  labelsOf: () => ({}),
  recognizes: () => false,

  async fetchIndex(file, { data, size }, { onBytes, signal } = {}): Promise<RawIndex> {
    const start = tailStart(size, data);
    if (size - start > maxParsedTailBytes) {
      throw new LazypullError('ResourceExhausted', `The tail of the layer index has ${size - start} bytes: too many`);
    }
    const dataStart = size - data.length;
    if (start >= dataStart) return { bytes: data.subarray(start - dataStart), start, fileBytes: size, dataEnd: 0 };
    const pieces: Buffer[] = [];
    for await (const piece of file.range(start, dataStart, signal)) {
      onBytes?.(piece.length);
      pieces.push(piece);
    }
    return { bytes: Buffer.concat([...pieces, data]), start, fileBytes: size, dataEnd: 0 };
  },

  parse({ bytes, fileBytes }, { layer: layerDigest }) {
    const { blobBytes, index, spans } = decodeTail(bytes, { layerDigest, fileBytes });
    return { ...index, digest: layerDigest, blobBytes, codecData: spans.buffer };
  },

  treeOf: buildPlainTree,
  codec: spansCodec,
};
