import { readFile } from 'node:fs/promises';
import { codeOf, LazypullError } from '../errors.ts';
import { footerBytes } from '../formats/layer-index-file/footer.ts';
import type { LayerFormat, ParsedIndex } from '../formats/layer-format.ts';
import type { Descriptor } from '../images/manifest.ts';
import type { Blob } from '../registry/blob/blob.ts';
import { IndexMaker } from './index-maker.ts';

/** The file with the index of a layer. */
export interface IndexFile {
  readonly size: number;
  /** Its bytes [start, end). */
  range(start: number, end: number, signal?: AbortSignal): Promise<Buffer>;
}

/** An index that may be there already: that of this machine, or of a team. */
export type FindIndex = (layer: string, signal: AbortSignal) => Promise<IndexFile | undefined>;

export interface PlainLayersOptions {
  /** Undefined for no places where to look. */
  readonly find?: FindIndex | undefined;
  /** Where files lie meanwhile: by default in the system's directory for temporary files. */
  readonly directory?: string | undefined;
  /** Told before all of a layer is read, which may take a while. */
  readonly onPull?: ((layer: Descriptor) => void) | undefined;
}

/** A layer whose manifest names no index, and its index. */
export interface PlainLayer {
  readonly index: ParsedIndex;
  readonly file: IndexFile;
}

/**
 * Reads layers whose manifest names no index: by one that is found, else by one that is made while all of the layer is
 * read once and compared with its digest. What was read can be used after this is disposed of.
 */
export class PlainLayers implements AsyncDisposable {
  readonly #options: PlainLayersOptions;
  readonly #stop = new AbortController();
  #maker: Promise<IndexMaker> | undefined;
  /** Layers that are read whole one after the other: each uses all processors. */
  #making: Promise<unknown> = Promise.resolve();

  constructor(options: PlainLayersOptions = {}) {
    this.#options = options;
  }

  /** @throws Unimplemented for a layer that can have no index; what the registry and `LayerPuller.pull` throw */
  async read(layer: Descriptor, blob: Blob, format: LayerFormat, signal: AbortSignal): Promise<PlainLayer> {
    const found = await this.#options.find?.(layer.digest, signal);
    if (found !== undefined) {
      try {
        return { index: await parseIndexFile(found, layer, format, signal), file: found };
      } catch (error) {
        if (!isWrong.has(codeOf(error))) throw error;
      }
    }
    const making = this.#making.then(() => this.#make(layer, blob));
    this.#making = making.catch(() => undefined);
    const file = await making;
    return { index: await parseIndexFile(file, layer, format, signal), file };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#making;
    await (await this.#maker?.catch(() => undefined))?.[Symbol.asyncDispose]();
  }

  async #make(layer: Descriptor, blob: Blob): Promise<IndexFile> {
    this.#options.onPull?.(layer);
    this.#maker ??= IndexMaker.open(this.#options.directory, this.#stop.signal);
    const { path, index } = await (await this.#maker).make(layer, blob);
    if (index.size > maxMadeBytes) {
      throw new LazypullError('ResourceExhausted', `The index of the layer has ${index.size} bytes: too many`);
    }
    const bytes = await readFile(path);
    return { size: bytes.length, range: (start, end) => Promise.resolve(bytes.subarray(start, end)) };
  }
}

/** An index that is made stays in memory: that of a layer of 30 GB has so many bytes. */
const maxMadeBytes = 512 << 20;

/** How an index that is found says that it cannot be used: then one is made. */
const isWrong: ReadonlySet<string> = new Set(['DataLoss', 'FailedPrecondition', 'Unimplemented', 'ResourceExhausted']);

/** What an index file says of a layer. Throws as `LayerFormat.parse`, and what `range` throws. */
export async function parseIndexFile(
  index: IndexFile,
  { digest }: Descriptor,
  format: LayerFormat,
  signal?: AbortSignal,
): Promise<ParsedIndex> {
  const { size } = index;
  const file = {
    async *range(start: number, end: number) {
      yield await index.range(start, end, signal);
    },
  };
  const data = await index.range(Math.max(0, size - footerBytes), size, signal);
  const raw = await format.fetchIndex(file, { data, size }, { signal });
  return format.parse(raw, { layer: digest, index: digest });
}
