import { inParallel } from '../util/in-parallel.ts';
import { clientOf, type Registry } from './registry.ts';
import { type ImageOptions, resolve } from './resolve.ts';

const layersAtOnce = 4;

/** The content of a layer's table of contents. */
export interface LayerContent {
  /** Regular files. */
  readonly files: number;
  /** Files, directories, links, devices and whiteouts. */
  readonly entries: number;
  readonly chunks: number;
  /** Bytes of all files, unpacked. */
  readonly bytes: number;
}

/** The properties of a layer in a registry, and whether it can be lazy. */
export interface LayerInspection {
  readonly mediaType: string;
  readonly digest: string;
  /** Bytes of the compressed blob. */
  readonly size: number;
  /** `estargz`, `gzip`, `zstd`, `zstd:chunked`, `tar`, `foreign` or `unknown`. Later versions may have more. */
  readonly format: string;
  /**
   * Why the layer cannot be lazy by what its image says, as a word, a sentence and what to do; undefined if it can.
   * With the word `no_toc` a daemon makes most layers lazy by a layer index, which it makes when it first pulls them.
   */
  readonly problem: { readonly reason: string; readonly message: string; readonly advice: string } | undefined;
  /** Undefined if the layer has no table of contents, or if it cannot be read. */
  readonly content: LayerContent | undefined;
}

/** The properties of an image in a registry. */
export interface ImageInspection {
  /** The full reference, as in `docker.io/library/alpine:3.20`. */
  readonly reference: string;
  /** The digest of the manifest. */
  readonly digest: string;
  readonly mediaType: string;
  /** `OS/ARCHITECTURE[/VARIANT]`; undefined if neither an index nor the caller named one. */
  readonly platform: string | undefined;
  /** The lowest first. */
  readonly layers: readonly LayerInspection[];
}

/**
 * Describes the layers of an image, and whether a daemon could make each of them lazy. A problem of a layer is its
 * `problem`, and no error.
 *
 * @param reference as Docker writes it
 * @throws as `openImage`, for what concerns the image as a whole
 */
export async function inspectImage(
  registry: Registry,
  reference: string,
  options: ImageOptions = {},
): Promise<ImageInspection> {
  const client = clientOf(registry);
  const { inspectLayer } = await import('../image-reader/inspect.ts');
  const { refusalAdvice } = await import('../layers/resolve/refusal.ts');
  const { formatReference } = await import('../registry/reference.ts');
  const { reference: full, digest, mediaType, platform, manifest } = await resolve(client, reference, options);
  const layers = await inParallel(manifest.layers, layersAtOnce, async (layer): Promise<LayerInspection> => {
    const blob = client.blob(full, layer.digest);
    const { format, problem, content } = await inspectLayer(blob, layer, options.signal);
    return {
      mediaType: layer.mediaType,
      digest: layer.digest,
      size: layer.size,
      format,
      problem: problem === undefined ? undefined : { ...problem, advice: refusalAdvice[problem.reason] },
      content: content === undefined ? undefined : contentOf(content),
    };
  });
  return { reference: formatReference(full), digest, mediaType, platform, layers };
}

function contentOf({ files, entries, chunks, bytes }: LayerContent): LayerContent {
  return { files, entries, chunks, bytes };
}
