import { codeOf, explain } from '../errors.ts';
import { planDisk } from '../fronts/erofs/plan.ts';
import { footerBytes, readFooter } from '../formats/estargz/footer.ts';
import { buildTree, type Landmark } from '../formats/tree.ts';
import { tocDigestLabel, zstdChunkedAnnotations } from '../label-names.ts';
import type { Descriptor } from '../images/manifest.ts';
import { isForeignLayer, isLayer } from '../images/media-types.ts';
import { readLayerIndex } from '../formats/estargz/fetch-toc.ts';
import type { Blob } from '../registry/blob/blob.ts';
import { Refusal, type RefusalReason, refusalReason } from '../layers/resolve/refusal.ts';

/** What a layer in a registry is, found out as a daemon does that mounts it. */
export interface LayerReport {
  readonly digest: string;
  readonly mediaType: string;
  /** Bytes of the blob. */
  readonly bytes: number;
  readonly format: 'estargz' | 'zstd:chunked' | 'gzip' | 'zstd' | 'tar' | 'foreign' | 'unknown';
  /** Why the layer cannot be lazy; undefined where it can. What the layers below it look like is not looked at. */
  readonly problem: { readonly reason: RefusalReason; readonly message: string } | undefined;
  /** What its table of contents says; undefined where that could not be read. */
  readonly content: LayerContent | undefined;
}

export interface LayerContent {
  /** Regular files, and all entries of the layer. */
  readonly files: number;
  readonly entries: number;
  readonly chunks: number;
  /** Bytes of all files. */
  readonly bytes: number;
  /** What the publisher says about fetching ahead; an offset is one in the blob. */
  readonly landmark: Landmark;
}

/** Reads a layer's index. Rejects only where `signal` aborts: any other failure is the layer's problem. */
export async function inspectLayer(blob: Blob, layer: Descriptor, signal?: AbortSignal): Promise<LayerReport> {
  const report = { digest: layer.digest, mediaType: layer.mediaType, bytes: layer.size };
  const problemOf = (error: unknown) => {
    signal?.throwIfAborted();
    return { reason: refusalReason(error), message: explain(error) };
  };
  let format = plainFormat(layer);
  try {
    const tocDigest = layer.annotations[tocDigestLabel];
    if (format === 'foreign') {
      throw new Refusal('unsupported', 'FailedPrecondition', 'Registries do not have such a layer');
    }
    if (!isLayer(layer.mediaType)) {
      throw new Refusal(
        'unsupported',
        'FailedPrecondition',
        `The layer is of the type "${layer.mediaType}", which is no tar`,
      );
    }
    if (!tocDigest) {
      if (await hasFooter(blob, signal)) format = 'estargz';
      throw new Refusal(format === 'estargz' ? 'no_toc_digest' : 'no_toc', 'FailedPrecondition', withoutDigest(format));
    }
    const content = contentOf(layer, await readLayerIndex(blob, tocDigest, signal));
    return { ...report, format: 'estargz', problem: undefined, content };
  } catch (error) {
    return { ...report, format, problem: problemOf(error), content: undefined };
  }
}

/** Plans the layer's disk too, as a daemon does: what has no room there makes the layer one that cannot be lazy. */
function contentOf({ digest }: Descriptor, index: Parameters<typeof buildTree>[0]): LayerContent {
  const tree = buildTree(index);
  planDisk(tree, { digest });
  const { landmark } = tree;
  const { entries, chunks } = index;
  let files = 0;
  for (const { type } of entries) if (type === 'reg') files++;
  let bytes = 0;
  for (let row = 0; row < chunks.length; row++) bytes += chunks.size[row]!;
  return { files, entries: entries.length, chunks: chunks.length, bytes, landmark };
}

function plainFormat({ mediaType, annotations }: Descriptor): LayerReport['format'] {
  if (isForeignLayer(mediaType)) return 'foreign';
  if (Object.keys(annotations).some((key) => zstdChunkedAnnotations.test(key))) {
    return 'zstd:chunked';
  }
  if (/[+.]gzip$/.test(mediaType)) return 'gzip';
  if (/[+.]zstd$/.test(mediaType)) return 'zstd';
  return mediaType.endsWith('tar') ? 'tar' : 'unknown';
}

/** Whether a blob ends as eStargz does. */
async function hasFooter(blob: Blob, signal: AbortSignal | undefined): Promise<boolean> {
  const { data, size } = await blob.tail(footerBytes, signal);
  try {
    readFooter(data, size);
    return true;
  } catch (error) {
    if (codeOf(error) === 'FailedPrecondition') return false;
    throw error;
  }
}

function withoutDigest(format: LayerReport['format']): string {
  if (format === 'zstd:chunked') return 'The layer is zstd:chunked, which is not supported yet';
  if (format !== 'estargz') return `The layer has no table of contents: it is plain ${format}`;
  return `The layer has a table of contents, but the manifest lacks its annotation "${tocDigestLabel}": it was pushed with Docker media types, or by a tool that drops annotations`;
}
