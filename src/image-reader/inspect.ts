import { explain } from '../errors.ts';
import { Fronts } from '../fronts/index.ts';
import { Formats } from '../formats/index.ts';
import { readIndex } from '../formats/read-index.ts';
import type { LayerIndex } from '../formats/layer-index.ts';
import type { Landmark, LayerTree } from '../formats/tree.ts';
import { tocDigestLabel, zstdChunkedAnnotations } from '../label-names.ts';
import { type IndexOrigin, originText } from '../indexes/index-origin.ts';
import { type IndexFile, parseIndexFile } from './plain-layers.ts';
import type { Descriptor } from '../images/manifest.ts';
import { isForeignLayer, isLayer } from '../images/media-types.ts';
import type { Blob } from '../registry/blob/blob.ts';
import { Refusal, type RefusalReason } from '../layers/resolve/refusal.ts';
import { refusalReason } from '../layers/resolve/refusal-reason.ts';

/** How many bytes of a blob's end show its format. */
const recognizedBytes = 4096;

/** The properties of a layer in a registry, found out as a daemon that mounts it does. */
export interface LayerReport {
  readonly digest: string;
  readonly mediaType: string;
  /** Bytes of the blob. */
  readonly bytes: number;
  /** The name of a format that lazypull reads, or of another one. */
  readonly format: string;
  /**
   * Why the layer cannot be lazy at once; undefined if it can. The layers below it are not considered. If it
   * `isIndexable`, it can be lazy after a pull.
   */
  readonly problem: { readonly reason: RefusalReason; readonly message: string } | undefined;
  /** The content of its table of contents; undefined if that could not be read. */
  readonly content: LayerContent | undefined;
  /** Where the layer index is by which it is read, in words; undefined if it needs none or has none. */
  readonly index?: string;
}

export interface LayerContent {
  /** Regular files, and all entries of the layer. */
  readonly files: number;
  readonly entries: number;
  readonly chunks: number;
  /** Bytes of all files. */
  readonly bytes: number;
  /** The publisher's hint for prefetching; an offset is one in the blob. */
  readonly landmark: Landmark;
}

/** Reads a layer's index. Rejects only if `signal` aborts: any other failure is the layer's problem. */
export async function inspectLayer(
  blob: Blob,
  layer: Descriptor,
  signal?: AbortSignal,
  formats = new Formats(),
): Promise<LayerReport> {
  const report = { digest: layer.digest, mediaType: layer.mediaType, bytes: layer.size };
  const problemOf = (error: unknown) => {
    signal?.throwIfAborted();
    return { reason: refusalReason(error), message: explain(error) };
  };
  let format = plainFormat(layer);
  try {
    if (format === 'foreign') {
      throw new Refusal('unsupported', 'FailedPrecondition', 'Registries do not hold layers of its type');
    }
    if (!isLayer(layer.mediaType)) {
      throw new Refusal(
        'unsupported',
        'FailedPrecondition',
        `The layer is of the type "${layer.mediaType}", which is no tar`,
      );
    }
    const found = formats.identify(layer.annotations);
    if (found === undefined) {
      const known = await recognize(blob, formats, signal);
      format = known ?? format;
      const reason = known === undefined ? 'no_toc' : 'no_toc_digest';
      throw new Refusal(reason, 'FailedPrecondition', withoutDigest(format, known !== undefined));
    }
    const id = { digest: layer.digest, index: found.index };
    const index = await readIndex(found.format, blob, id, signal);
    const content = contentOf(layer, found.format.treeOf(index), index);
    return { ...report, format: found.format.name, problem: undefined, content };
  } catch (error) {
    return { ...report, format, problem: problemOf(error), content: undefined };
  }
}

/** The report on a layer without a table of contents that is read by a layer index. Never rejects. */
export async function inspectByIndex(
  report: LayerReport,
  layer: Descriptor,
  found: IndexFile & { readonly origin: IndexOrigin },
  formats = new Formats(),
): Promise<LayerReport> {
  const index = originText(found.origin);
  try {
    const parsed = await parseIndexFile(found, layer, formats.unindexed);
    const content = contentOf(layer, formats.unindexed.treeOf(parsed), parsed);
    return { ...report, problem: undefined, content, index };
  } catch (error) {
    return {
      ...report,
      problem: { reason: refusalReason(error), message: `${explain(error)} (layer index ${index})` },
    };
  }
}

/** Plans the layer's image too, as a daemon does: a layer without room there cannot be lazy. */
function contentOf({ digest }: Descriptor, tree: LayerTree, index: LayerIndex): LayerContent {
  new Fronts().chosen.plan(tree, { digest });
  const { landmark } = tree;
  const { entries, chunks } = index;
  let files = 0;
  for (const { type } of entries) if (type === 'reg') files++;
  let bytes = 0;
  for (let row = 0; row < chunks.length; row++) bytes += chunks.size[row]!;
  return { files, entries: entries.length, chunks: chunks.length, bytes, landmark };
}

function plainFormat({ mediaType, annotations }: Descriptor): string {
  if (isForeignLayer(mediaType)) return 'foreign';
  if (Object.keys(annotations).some((key) => zstdChunkedAnnotations.test(key))) {
    return 'zstd:chunked';
  }
  if (/[+.]gzip$/.test(mediaType)) return 'gzip';
  if (/[+.]zstd$/.test(mediaType)) return 'zstd';
  return mediaType.endsWith('tar') ? 'tar' : 'unknown';
}

/** The name of the format that the end of a blob shows. */
async function recognize(blob: Blob, formats: Formats, signal: AbortSignal | undefined): Promise<string | undefined> {
  const end = await blob.tail(recognizedBytes, signal);
  return formats.all.find((format) => format.recognizes(end))?.name;
}

function withoutDigest(format: string, isKnown: boolean): string {
  if (format === 'zstd:chunked') return 'The layer is zstd:chunked, whose table of contents is not read';
  if (!isKnown) return `The layer has no table of contents: it is plain ${format}`;
  return `The layer has a table of contents, but the manifest lacks its annotation "${tocDigestLabel}": it was pushed with Docker media types, or by a tool that drops annotations`;
}
