import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { codeOf, errnoOf, LazypullError } from '../errors.ts';
import { footerBytes, readFooter } from '../formats/estargz/footer.ts';
import { tocDigestLabel } from '../label-names.ts';
import type { Descriptor } from '../images/manifest.ts';
import { isLayer } from '../images/media-types.ts';
import { decompress } from '../formats/decompress.ts';
import type { ImageDestination } from './destination.ts';
import { type EstargzResult, writeEstargz } from './estargz-writer.ts';
import { FileBlob } from './file-blob.ts';
import type { GzipPool } from './gzip-pool.ts';
import { type ConvertedLayer, copiedLayer, estargzLayer, planLayer } from './converted-image.ts';
import type { LazinessCheck } from './laziness.ts';
import type { BlobId, ImageSource } from './source.ts';

/** The progress of a layer. Digest and size are those of the source. */
export interface LayerEvent {
  digest: string;
  size: number;
  /**
   * `reading`: `bytes` of the source's blob have been read, to convert or to copy it. `pushing`: `bytes` of the
   * converted blob have been sent. `done`: the destination has it; `bytes` is its size there. `kept`: no registry has
   * such a layer, it stays as it is.
   */
  state: 'reading' | 'pushing' | 'done' | 'kept';
  bytes: number;
  /** The total of `bytes` in this state. */
  total: number;
}

export interface LayerConverterOptions {
  source: ImageSource;
  destination: ImageDestination;
  pool: GzipPool;
  /** Chunk size of files, in bytes. */
  chunkBytes: number;
  /** A directory for converted layers until they are pushed. The caller removes it. */
  directory: string;
  onLayer: (event: LayerEvent) => void;
  check: LazinessCheck;
}

/** Brings layers to the destination as eStargz, each one once, however many images have it. */
export class LayerConverter {
  readonly #options: LayerConverterOptions;
  readonly #converted = new Map<string, Promise<EstargzResult>>();
  readonly #copied = new Map<string, Promise<void>>();

  constructor(options: LayerConverterOptions) {
    this.#options = options;
  }

  /** The layer in the converted image. `diffId` is the diff ID in the source image's config. */
  async convert(layer: Descriptor, diffId: string, signal: AbortSignal): Promise<ConvertedLayer> {
    const plan = planLayer(layer);
    if (plan === 'keep') {
      this.#options.check.refuse(layer.digest, 'Registries do not hold layers of its type: it stays as it is');
      this.#options.onLayer({ ...idOf(layer), state: 'kept', bytes: layer.size, total: layer.size });
      return { descriptor: layer, diffId };
    }
    if (plan === 'copy' && !(await this.#isMislabelled(layer, signal))) {
      await this.copy(layer, signal);
      await this.#checkCopied(layer, signal);
      return { descriptor: copiedLayer(layer), diffId };
    }
    const result = await once(this.#converted, layer.digest, () => this.#write(idOf(layer), signal));
    return estargzLayer(layer, result);
  }

  /**
   * Whether a layer claims to be eStargz and is not: a program that compresses layers again may keep their annotations.
   * False if that cannot be read.
   */
  async #isMislabelled({ digest, mediaType }: Descriptor, signal: AbortSignal): Promise<boolean> {
    if (!isLayer(mediaType)) return false;
    try {
      const { data, size } = await this.#options.source.ranged(digest).tail(footerBytes, signal);
      readFooter(data, size);
      return false;
    } catch (error) {
      signal.throwIfAborted();
      return codeOf(error) === 'FailedPrecondition';
    }
  }

  async #checkCopied({ digest, mediaType, annotations }: Descriptor, signal: AbortSignal): Promise<void> {
    const { source, check } = this.#options;
    const tocDigest = annotations[tocDigestLabel];
    if (isLayer(mediaType) && tocDigest !== undefined) {
      await check.read(source.ranged(digest), { digest, index: tocDigest }, signal);
    } else check.refuse(digest, `A layer of the type "${mediaType}" cannot be converted: it is copied as it is`);
  }

  /** Brings a blob to the destination as it is. */
  copy(blob: BlobId, signal: AbortSignal): Promise<void> {
    return once(this.#copied, blob.digest, async () => {
      const { destination, onLayer } = this.#options;
      if (!(await destination.hasBlob(blob.digest, signal))) {
        await destination.putBlob(blob, () => Readable.from(this.#read(idOf(blob), signal)), signal);
      }
      onLayer({ ...idOf(blob), state: 'done', bytes: blob.size, total: blob.size });
    });
  }

  /** Brings bytes to the destination as a blob. */
  async put(blob: BlobId, bytes: Buffer, signal: AbortSignal): Promise<void> {
    const { destination } = this.#options;
    if (await destination.hasBlob(blob.digest, signal)) return;
    await destination.putBlob(blob, () => Readable.from([bytes]), signal);
  }

  async #write(layer: BlobId, signal: AbortSignal): Promise<EstargzResult> {
    const { destination, onLayer, directory } = this.#options;
    const path = join(directory, layer.digest.replace(':', '-'));
    try {
      const result = await this.#writeTo(path, layer, signal);
      await this.#options.check.read(new FileBlob(path), { digest: result.digest, index: result.tocDigest }, signal);
      if (!(await destination.hasBlob(result.digest, signal))) {
        const content = () =>
          counted(path, (bytes) => onLayer({ ...layer, state: 'pushing', bytes, total: result.size }));
        await destination.putBlob(result, () => Readable.from(content()), signal);
      }
      onLayer({ ...layer, state: 'done', bytes: result.size, total: result.size });
      return result;
    } finally {
      await rm(path, { force: true });
    }
  }

  async #writeTo(path: string, layer: BlobId, signal: AbortSignal): Promise<EstargzResult> {
    const { pool, chunkBytes, directory } = this.#options;
    await using file = await open(path, 'wx', 0o600);
    const sink = async (data: Uint8Array): Promise<void> => {
      for (let rest = data; rest.length > 0; ) rest = rest.subarray((await file.write(rest)).bytesWritten);
    };
    let isVerified = false;
    const read = this.#read(layer, signal);
    async function* toEnd(): AsyncGenerator<Buffer> {
      yield* read;
      isVerified = true;
    }
    try {
      const result = await writeEstargz(decompress(toEnd()), sink, { pool, chunkBytes, signal });
      if (isVerified) return result;
    } catch (cause) {
      throw explained(cause, layer.digest, directory);
    }
    throw new LazypullError(
      'DataLoss',
      `Cannot convert the layer "${layer.digest}": its compressed data ends before the blob does`,
    );
  }

  async *#read(blob: BlobId, signal: AbortSignal): AsyncGenerator<Buffer> {
    let bytes = 0;
    this.#options.onLayer({ ...blob, state: 'reading', bytes, total: blob.size });
    for await (const data of this.#options.source.blob(blob, signal)) {
      bytes += data.length;
      this.#options.onLayer({ ...blob, state: 'reading', bytes, total: blob.size });
      yield data;
    }
  }
}

const readBytes = 1024 * 1024;

/** The content of a file; `tell` gets the number of bytes taken so far. */
async function* counted(path: string, tell: (bytes: number) => void): AsyncGenerator<Buffer> {
  let bytes = 0;
  tell(bytes);
  for await (const data of createReadStream(path, { highWaterMark: readBytes }) as AsyncIterable<Buffer>) {
    yield data;
    bytes += data.length;
    tell(bytes);
  }
}

function explained(cause: unknown, digest: string, directory: string): LazypullError {
  if (errnoOf(cause) === 'ENOSPC') {
    return new LazypullError(
      'ResourceExhausted',
      `Cannot convert the layer "${digest}": no space left in "${directory}"`,
      { cause, hint: 'choose another directory with --temp-dir' },
    );
  }
  return new LazypullError(codeOf(cause), `Cannot convert the layer "${digest}"`, { cause });
}

function idOf({ digest, size }: BlobId): BlobId {
  return { digest, size };
}

function once<T>(results: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  let result = results.get(key);
  if (result === undefined) {
    result = make();
    results.set(key, result);
    // Another image may need the layer too, and its conversion may go on.
    result.catch(() => results.delete(key));
  }
  return result;
}
