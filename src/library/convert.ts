import { LazypullError } from '../errors.ts';
import { clientOf, type Registry } from './registry.ts';

/** How an image is converted. Every field has a default. */
export interface ConvertOptions {
  /** `OS/ARCHITECTURE[/VARIANT]` each: only the image that fits best is converted. By default all images are. */
  readonly platforms?: readonly string[] | undefined;
  /** Level of gzip, 1 to 9: higher is smaller and slower. 5 by default. */
  readonly level?: number | undefined;
  /** Bytes at which files are cut into chunks. 1 MiB by default. */
  readonly chunkSize?: number | undefined;
  /** For a directory with converted layers until they are pushed. The system's by default. */
  readonly temporaryDirectory?: string | undefined;
  /** Is called often, with the progress of a layer. */
  readonly onLayer?: ((progress: LayerProgress) => void) | undefined;
  /** Stops the conversion, which then fails with Canceled. */
  readonly signal?: AbortSignal | undefined;
}

/** The progress of a layer. */
export interface LayerProgress {
  /** The digest of the layer in the source. */
  readonly digest: string;
  /** Bytes of its blob in the source. */
  readonly size: number;
  /**
   * `reading`: that much of the source's blob was read. `pushing`: that much of the new blob was sent. `done`: the
   * destination has it. `kept`: it is a layer that no registry has, and stays as it is.
   */
  readonly state: 'reading' | 'pushing' | 'done' | 'kept';
  /** The bytes so far, out of `total`. */
  readonly bytes: number;
  readonly total: number;
}

/** The written image. */
export interface ConvertedImage {
  readonly mediaType: string;
  /** The digest of the manifest or the index. */
  readonly digest: string;
  /** Bytes of the manifest or the index. */
  readonly size: number;
  /** Written layers that cannot be lazy, and members of an index that stayed as they were. */
  readonly problems: readonly { readonly digest: string; readonly message: string }[];
  /** False if a converted layer cannot be lazy, or if no image can be lazy as a whole. */
  readonly isLazy: boolean;
}

/**
 * Copies an image, by default for all its platforms, with its layers as eStargz. The name of the destination is set
 * last: it never stands for half an image. No temporary file is left.
 *
 * @param source a reference as Docker writes it, or `oci-layout:DIRECTORY[:NAME][@DIGEST]`
 * @param destination a reference without a digest, or `oci-layout:DIRECTORY[:NAME]`
 * @throws InvalidArgument for invalid names, platforms or numbers, or a source that is not a container image; NotFound
 * if the image or a platform does not exist; Canceled; DataLoss for content that contradicts its digest; and the errors
 * of the registries
 */
export async function convertImage(
  registry: Registry,
  source: string,
  destination: string,
  options: ConvertOptions = {},
): Promise<ConvertedImage> {
  const client = clientOf(registry);
  const { convertImage: convert } = await import('../convert/convert.ts');
  const { openEndpoints } = await import('../convert/endpoints.ts');
  const { parsePlatform } = await import('../images/platforms.ts');
  const { estargz } = await import('../formats/estargz/format.ts');
  const { LazyCheck } = await import('../layers/resolve/lazy-check.ts');
  checkNumber('level', options.level, maxLevel);
  checkNumber('chunkSize', options.chunkSize, (await import('../convert/estargz-writer.ts')).maxChunkBytes);
  const problems: { digest: string; message: string }[] = [];
  const ends = openEndpoints(client, source, destination);
  const image = await convert(ends.source, ends.destination, {
    level: options.level,
    chunkBytes: options.chunkSize,
    platforms: options.platforms?.map(parsePlatform),
    temporaryDirectory: options.temporaryDirectory,
    onLayer: options.onLayer,
    onKept: ({ digest, reason }) => problems.push({ digest, message: reason }),
    check: new LazyCheck(estargz),
    onNotLazy: ({ digest, message }) => problems.push({ digest, message }),
    signal: options.signal,
  });
  return { ...image, problems };
}

const maxLevel = 9;

function checkNumber(name: string, value: number | undefined, max: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= 1 && value <= max)) return;
  throw new LazypullError(
    'InvalidArgument',
    `Cannot convert with "${name}" ${value}: it is a whole number from 1 to ${max}`,
  );
}
