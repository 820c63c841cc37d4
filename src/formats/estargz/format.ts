import { type Digest, hexOf } from '../../chunks/digest.ts';
import { codeOf } from '../../errors.ts';
import { tocDigestLabel } from '../../label-names.ts';
import { membersCodec } from '../gzip/members-codec.ts';
import type { LayerFormat } from '../layer-format.ts';
import { buildTree } from '../tree.ts';
import { fetchToc } from './fetch-toc.ts';
import { footerBytes, readFooter } from './footer.ts';
import { checkTocDigest, openToc, readTocJson } from './toc.ts';

/**
 * eStargz (containerd/stargz-snapshotter, docs/estargz.md): a gzip member for each chunk, and a table of contents at
 * the end of the blob, whose digest is in the manifest.
 */
export const estargz: LayerFormat = {
  name: 'estargz',

  identify(labels): Digest | undefined {
    const index = labels[tocDigestLabel];
    if (!index) return undefined;
    hexOf(index, 'TOC digest');
    return index;
  },

  labelsOf: (index) => ({ [tocDigestLabel]: index }),

  recognizes({ data, size }) {
    try {
      readFooter(data.subarray(Math.max(0, data.length - footerBytes)), size);
      return true;
    } catch (error) {
      if (codeOf(error) === 'FailedPrecondition') return false;
      throw error;
    }
  },

  fetchIndex: fetchToc,

  parse({ bytes, start, fileBytes }, { index, maxBytes }) {
    const toc = openToc(bytes, { blobSize: fileBytes, tocOffset: start }, maxBytes);
    if (index !== undefined) checkTocDigest(toc.tocDigest, index);
    return { ...readTocJson(toc.json, start), digest: toc.tocDigest, blobBytes: fileBytes };
  },

  treeOf: buildTree,
  codec: membersCodec,
};
