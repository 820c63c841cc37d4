import { LazypullError } from '../errors.ts';
import type { ImageFile as TreeFile, ImageTree } from '../image-reader/image-tree.ts';
import type { OpenImage } from '../image-reader/open-image.ts';
import type { ResolvedImage } from '../images/resolve.ts';
import { clientOf, type Registry } from './registry.ts';
import { type ImageOptions, resolve } from './resolve.ts';

/** A layer of an image, from the manifest. */
export interface ImageLayer {
  readonly mediaType: string;
  readonly digest: string;
  /** Bytes of the compressed blob. */
  readonly size: number;
}

/** A file of an image, as a container would see it, and the layer that it comes from. */
export interface ImageFile {
  /** From the root on, as in `/etc/passwd`. No directory in it is a symlink. Bytes that are not UTF-8 are replaced. */
  readonly path: string;
  /** The exact path; file names are bytes. */
  readonly pathBytes: Uint8Array;
  readonly type: 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo';
  /** Permission, set-id and sticky bits: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of a file; 0 for anything else. */
  readonly size: number;
  /** Number of names of a file in its layer; of a directory, 2 and one for each directory in it. */
  readonly links: number;
  /** Seconds since 1970, rounded down, maybe negative; and 0 to 999,999,999 nanoseconds. */
  readonly modified: { readonly seconds: number; readonly nanoseconds: number };
  /** The target of a symlink; undefined for anything else. */
  readonly target: string | undefined;
  /** The numbers of a device; undefined for anything else. */
  readonly device: { readonly major: number; readonly minor: number } | undefined;
  /** Extended attributes by name. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  /** The digest of the layer; undefined for the root of an image without layers. */
  readonly layer: string | undefined;
}

/** An image whose tables of contents have been fetched, but not its files. */
export interface Image {
  /** The full reference, as in `docker.io/library/alpine:3.20`. */
  readonly reference: string;
  /** The digest of the manifest. */
  readonly digest: string;
  readonly mediaType: string;
  /** `OS/ARCHITECTURE[/VARIANT]`; undefined if neither an index nor the caller named one. */
  readonly platform: string | undefined;
  /** The lowest first. */
  readonly layers: readonly ImageLayer[];
  /**
   * The file at a path. Symlinks are followed inside the image, even the last one; `..` of the root is the root.
   *
   * @throws NotFound if there is no such file; FailedPrecondition for too many symlinks, or a part of the path that is
   * not a directory; InvalidArgument for a path that is too long
   */
  find(path: string | Uint8Array): ImageFile;
  /**
   * The files in a directory, in the order of their names' bytes.
   *
   * @param directory the root by default
   * @throws as `find`; FailedPrecondition if it is not a directory
   */
  list(directory?: string | Uint8Array): ImageFile[];
  /**
   * The content of a file, piece by piece. Only the necessary bytes are fetched, and each piece was verified against
   * its digest in the table of contents before it is returned.
   *
   * @throws as `find`; FailedPrecondition if it is not a file. Iterating throws DataLoss for wrong content, if another
   * server did not help, and the errors of the registry (Unavailable, Unauthenticated, …)
   */
  read(file: string | Uint8Array): AsyncIterable<Uint8Array>;
}

/**
 * Opens an image in a registry without pulling it: it fetches the tables of contents of the layers and verifies them
 * against the manifest. A layer without one is read once, all of it, to make an index of it; the files that are made
 * meanwhile lie in the system's directory for temporary files.
 *
 * @param reference as Docker writes it: `alpine`, `registry.example/app:1`, `registry.example/app@sha256:…`
 * @throws InvalidArgument for an invalid reference or platform, or something that is not a container image; NotFound if
 * the image or its platform does not exist; FailedPrecondition if a layer can only be pulled; Unauthenticated,
 * PermissionDenied and Unavailable as the registry answers; DataLoss for content that contradicts its digest
 */
export async function openImage(registry: Registry, reference: string, options: ImageOptions = {}): Promise<Image> {
  const client = clientOf(registry);
  const { openImage: open } = await import('../image-reader/open-image.ts');
  const { formatReference } = await import('../registry/reference.ts');
  const resolved = await resolve(client, reference, options);
  const { PlainLayers } = await import('../image-reader/plain-layers.ts');
  await using plain = new PlainLayers();
  return new RegistryImage(formatReference(resolved.reference), resolved, await open(client, resolved, plain));
}

class RegistryImage implements Image {
  readonly reference: string;
  readonly digest: string;
  readonly mediaType: string;
  readonly platform: string | undefined;
  readonly layers: readonly ImageLayer[];
  readonly #tree: ImageTree;
  readonly #image: OpenImage;

  constructor(reference: string, { digest, mediaType, platform, manifest }: ResolvedImage, image: OpenImage) {
    this.reference = reference;
    this.digest = digest;
    this.mediaType = mediaType;
    this.platform = platform;
    this.layers = manifest.layers.map((layer) => ({
      mediaType: layer.mediaType,
      digest: layer.digest,
      size: layer.size,
    }));
    this.#tree = image.tree;
    this.#image = image;
  }

  find(path: string | Uint8Array): ImageFile {
    return this.#file(this.#tree.find(byteString(path)));
  }

  list(path: string | Uint8Array = '/'): ImageFile[] {
    const directory = this.#tree.find(byteString(path));
    if (!directory.isDirectory) throw wrongType('list', directory, 'it is not a directory');
    return this.#tree.list(directory).map((file) => this.#file(file));
  }

  read(path: string | Uint8Array): AsyncIterable<Uint8Array> {
    const file = this.#tree.find(byteString(path));
    if (file.entry.type !== 'reg') throw wrongType('read', file, 'it is not a regular file');
    return this.#image.read(file);
  }

  #file({ path, entry, links, layer }: TreeFile): ImageFile {
    const { type, mode, uid, gid, size, linkTarget, devMajor, devMinor, xattrs } = entry;
    const isDevice = type === 'char' || type === 'block';
    return {
      path: text(`/${path}`),
      pathBytes: bytes(`/${path}`),
      type: type === 'reg' || type === 'hardlink' ? 'file' : type === 'dir' ? 'directory' : type,
      mode,
      uid,
      gid,
      size,
      links,
      modified: { seconds: entry.mtimeSeconds, nanoseconds: entry.mtimeNanoseconds },
      target: type === 'symlink' ? text(linkTarget) : undefined,
      device: isDevice ? { major: devMajor, minor: devMinor } : undefined,
      xattrs: new Map([...(xattrs ?? [])].map(([name, value]) => [text(name), Uint8Array.from(value)])),
      layer: this.layers[layer]?.digest,
    };
  }
}

function byteString(path: string | Uint8Array): string {
  return (typeof path === 'string' ? Buffer.from(path) : Buffer.from(path)).toString('latin1');
}

function bytes(byteString: string): Uint8Array {
  return Uint8Array.from(Buffer.from(byteString, 'latin1'));
}

function text(byteString: string): string {
  return Buffer.from(byteString, 'latin1').toString('utf8');
}

function wrongType(verb: string, { path }: TreeFile, why: string): LazypullError {
  return new LazypullError('FailedPrecondition', `Cannot ${verb} "${text(`/${path}`)}": ${why}`);
}
