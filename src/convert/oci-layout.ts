import { hash, randomUUID } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { access, open, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createWriteStream } from 'node:fs';
import { errnoOf, isSystemError, LazypullError } from '../errors.ts';
import { makeDirectory } from '../kernel/make-directory.ts';
import { type Descriptor, encodeDescriptor, parseIndex, type ImageIndex, platformOf } from '../images/manifest.ts';
import { ociIndex } from '../images/media-types.ts';
import { type Platform, platformText } from '../images/platforms.ts';
import type { Manifest } from '../registry/client.ts';
import { isDigest } from '../registry/reference.ts';
import type { ImageDestination } from './destination.ts';
import { FileBlob } from './file-blob.ts';
import type { RangedBlob } from './laziness.ts';
import { type BlobId, type ImageSource, readBlob, verified } from './source.ts';
import { replacing } from '../kernel/replace-file.ts';

/** The limit of registries for manifests. */
const maxManifestBytes = 4 * 1024 * 1024;

const nameAnnotation = 'org.opencontainers.image.ref.name';
/** The whole reference, if containerd or BuildKit wrote the layout: the other annotation has only the tag. */
const fullNameAnnotation = 'io.containerd.image.name';
const prefix = 'oci-layout:';

/** A directory with an image layout, and the name or the digest of one image in it. */
export interface LayoutReference {
  directory: string;
  tag: string | undefined;
  digest?: string | undefined;
}

/**
 * Reads `oci-layout:DIR[:NAME][@DIGEST]`; undefined if the text does not start so. The directory is the longest
 * existing one. If none exists, the name is the text after the last colon, if it has no slash; or the text after the
 * first colon, if the directory could not be made otherwise.
 */
export function parseLayoutReference(text: string): LayoutReference | undefined {
  if (!text.startsWith(prefix)) return undefined;
  const at = /^(.*?)(?:@([a-z0-9]+:[0-9a-f]+))?$/s.exec(text.slice(prefix.length))!;
  const [, rest = '', digest] = at;
  const { directory, tag } = splitAtDirectory(rest) ?? splitAtTag(rest);
  if (directory === '' || (digest !== undefined && !isDigest(digest)))
    throw new LazypullError('InvalidArgument', `Cannot parse "${text}": write ${prefix}DIRECTORY[:NAME][@DIGEST]`);
  return { directory, tag, ...(digest === undefined ? {} : { digest }) };
}

function splitAtDirectory(text: string): LayoutReference | undefined {
  for (let end = text.length; end > 0; end = text.lastIndexOf(':', end - 1)) {
    const directory = text.slice(0, end);
    const tag = text.slice(end + 1);
    if (end < text.length && tag === '') continue;
    if (statSync(directory, { throwIfNoEntry: false })?.isDirectory()) return { directory, tag: tag || undefined };
  }
  return undefined;
}

/**
 * Splits the text if the directory does not exist yet. `new:registry.example/app:1` is the directory `new`, unless
 * there is one for `app` in `new:registry.example`.
 */
function splitAtTag(text: string): LayoutReference {
  const match = /^(.+):([\w][\w.-]{0,127})$/.exec(text);
  if (match === null) return { directory: text, tag: undefined };
  const colon = text.indexOf(':', 1);
  const canBeMade = (directory: string) => statSync(dirname(directory), { throwIfNoEntry: false })?.isDirectory();
  if (!canBeMade(match[1]!) && canBeMade(text.slice(0, colon)))
    return { directory: text.slice(0, colon), tag: text.slice(colon + 1) };
  return { directory: match[1]!, tag: match[2] };
}

/** An OCI image layout (image-spec, image-layout.md), as a source and as a destination. */
export class OciLayout implements ImageSource, ImageDestination {
  readonly name: string;
  readonly #directory: string;
  readonly #tag: string | undefined;
  readonly #digest: string | undefined;

  constructor({ directory, tag, digest }: LayoutReference) {
    this.name = `${prefix}${directory}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
    this.#directory = directory;
    this.#tag = tag;
    this.#digest = digest;
  }

  /**
   * The entry of index.json with the name and the digest, as far as they are given. If there are several, they are the
   * members of an index that `platforms` choose from, unless their names tell them apart.
   *
   * @throws NotFound that lists what is there
   */
  async root(platforms: readonly Platform[], signal?: AbortSignal): Promise<Manifest> {
    const index = await this.#index();
    if (index === undefined)
      throw new LazypullError('NotFound', `Cannot read "${this.name}": "${this.#path('index.json')}" does not exist`);
    const { manifests } = index;
    const found = manifests.filter((entry) => this.#isNamed(entry));
    const [root] = found;
    const isOneName = new Set(found.map(({ annotations }) => annotations[nameAnnotation])).size === 1;
    if (root !== undefined && found.length > 1 && isOneName && platforms.length > 0) {
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: found.map(encodeDescriptor) }));
      return { mediaType: ociIndex, digest: `sha256:${hash('sha256', bytes)}`, bytes };
    }
    if (root === undefined || (found.length > 1 && this.#digest === undefined)) {
      const there = (root === undefined ? manifests : found).map(describe).join(', ');
      const how = isOneName && root !== undefined ? 'choose by --platform, or append @DIGEST of one of' : 'name one of';
      throw new LazypullError('NotFound', `Cannot choose an image in "${this.name}": ${how}: ${there || 'nothing'}`);
    }
    return { mediaType: root.mediaType, digest: root.digest, bytes: await this.manifest(root, signal) };
  }

  #isNamed({ digest, annotations }: Descriptor): boolean {
    if (this.#digest !== undefined && this.#digest !== digest) return false;
    return this.#tag === undefined || nameKeys.some((key) => annotations[key] === this.#tag);
  }

  manifest(descriptor: Descriptor, signal?: AbortSignal): Promise<Buffer> {
    return readBlob(this, descriptor, maxManifestBytes, signal);
  }

  async *blob(blob: BlobId, signal?: AbortSignal): AsyncGenerator<Buffer> {
    const stream = createReadStream(this.#blobPath(blob.digest), { highWaterMark: readBytes, signal });
    try {
      yield* verified(stream as AsyncIterable<Buffer>, blob, this.name);
    } catch (cause) {
      if (errnoOf(cause) !== 'ENOENT') throw cause;
      throw new LazypullError('NotFound', `Cannot read the blob "${blob.digest}": "${this.name}" does not have it`, {
        cause,
      });
    }
  }

  ranged(digest: string): RangedBlob {
    return new FileBlob(this.#blobPath(digest));
  }

  hasBlob(digest: string): Promise<boolean> {
    return access(this.#blobPath(digest)).then(
      () => true,
      () => false,
    );
  }

  async putBlob(blob: BlobId, source: () => Readable, signal?: AbortSignal): Promise<void> {
    const path = this.#blobPath(blob.digest);
    await this.#replace(path, async (temporary) => {
      makeDirectory(dirname(path));
      const content = verified(source() as AsyncIterable<Buffer>, blob, this.name);
      await pipeline(content, createWriteStream(temporary), signal === undefined ? {} : { signal });
    });
  }

  putManifest(_mediaType: string, digest: string, bytes: Buffer, signal?: AbortSignal): Promise<void> {
    return this.putBlob({ digest, size: bytes.length }, () => Readable.from([bytes]), signal);
  }

  async putRoot(mediaType: string, digest: string, bytes: Buffer, signal?: AbortSignal): Promise<void> {
    await this.putManifest(mediaType, digest, bytes, signal);
    const tag = this.#tag ?? 'latest';
    const index = (await this.#index()) ?? { json: { schemaVersion: 2, mediaType: ociIndex }, manifests: [] };
    const others = index.manifests.filter((entry) => entry.annotations[nameAnnotation] !== tag);
    const root = { mediaType, digest, size: bytes.length, annotations: { [nameAnnotation]: tag }, rest: {} };
    const json = { ...index.json, manifests: [...others, root].map(encodeDescriptor) };
    const version = JSON.stringify({ imageLayoutVersion: '1.0.0' });
    await this.#replace(this.#path('oci-layout'), (temporary) => writeFile(temporary, version));
    await this.#replace(this.#path('index.json'), (temporary) => writeFile(temporary, JSON.stringify(json, null, 2)));
  }

  /** Undefined if the directory is not a layout yet. */
  async #index(): Promise<ImageIndex | undefined> {
    try {
      await using file = await open(this.#path('index.json'));
      const { size } = await file.stat();
      if (size > maxManifestBytes)
        throw new LazypullError(
          'InvalidArgument',
          `Cannot read "${this.#path('index.json')}": it is larger than ${maxManifestBytes} bytes`,
        );
      return parseIndex(await readFile(file));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }

  /** An unchecked digest could lead out of the directory. */
  #blobPath(digest: string): string {
    if (!isDigest(digest))
      throw new LazypullError('InvalidArgument', `Cannot address a blob by "${digest}": it is not a digest`);
    return join(this.#directory, 'blobs', ...digest.split(':'));
  }

  /** Makes a file appear whole or not at all. Throws Unavailable if the file system refuses it. */
  async #replace(path: string, write: (temporary: string) => Promise<void>): Promise<void> {
    const temporary = `${path}.${randomUUID()}`;
    try {
      await replacing(path, temporary, () => write(temporary));
    } catch (error) {
      if (!isSystemError(error)) throw error;
      throw new LazypullError('Unavailable', `Cannot write "${path}"`, { cause: error });
    }
  }
}

const nameKeys = [nameAnnotation, fullNameAnnotation];

/** The name of an image, as one can write it after the directory. */
function describe(entry: Descriptor): string {
  const { annotations, digest } = entry;
  const platform = platformOf(entry);
  const name = annotations[nameAnnotation] ?? `@${digest}`;
  return platform === undefined ? name : `${name} (${platformText(platform)})`;
}

const readBytes = 1024 * 1024;
