import { link } from 'node:fs/promises';
import { isSha256 } from '../../chunks/digest.ts';
import { residency } from '../../chunks/residency.ts';
import { footerBytes } from '../../formats/layer-index-file/footer.ts';
import { codeOf, type ErrorCode, LazypullError, messageOf } from '../../errors.ts';
import type { ImageAccess } from '../../images/image-access.ts';
import type { Descriptor } from '../../images/manifest.ts';
import { tocDigestLabel } from '../../label-names.ts';
import type { Log } from '../../log.ts';
import type { Blob } from '../../registry/blob/blob.ts';
import type { LayerOrigin } from '../layer-origin.ts';
import type { LayerOptions } from '../layer-options.ts';
import type { TraceStore } from '../prefetch/trace.ts';
import { type LayerDirectory, recordVersion } from '../store/layer-directory.ts';
import { RecentMap } from '../../util/recent-map.ts';
import { type LayerRef, unindexedRefusal } from './layer-ref.ts';
import type { FoundIndex } from '../../indexes/found-index.ts';
import { originText } from '../../indexes/index-origin.ts';
import type { Planned, PlanRequest } from '../store/plan-files.ts';
import { WrongIndex } from '../fetch/index-parts.ts';
import { IndexKeeper } from './index-keeper.ts';
import type { IndexSource } from './index-source.ts';
import type { LayerPulls } from './layer-pulls.ts';
import { noSpans, type Spans } from '../../spans.ts';
import { noRanges, noRangesText, type RangeSupport } from './range-support.ts';
import { Refusal } from './refusal.ts';

/** What happens to layers whose labels name no index. Sizes are those of blobs, in bytes. */
export interface UnindexedPolicy {
  readonly mode: 'pull' | 'client';
  readonly minBytes: number;
  readonly maxBytes: number;
}

/** Pulls everything. */
export const pullAll: UnindexedPolicy = { mode: 'pull', minBytes: 0, maxBytes: Number.POSITIVE_INFINITY };

/** A layer that has just been made, to be opened. */
export type MadeLayer = Pick<
  LayerOptions,
  'record' | 'directory' | 'format' | 'table' | 'codecData' | 'resident' | 'isOfThisBoot' | 'blob' | 'traces' | 'origin'
>;

/** How long it may take to fetch the manifest that tells which layers of an image are unindexed. */
const manifestMs = 10_000;

/** How long an image's layers need not be looked for again, and of how many images that is remembered. */
const aheadMs = 20_000;
const maxImages = 256;

/** How many layers of an image are asked for before its manifest says what they are. */
const maxEarly = 16;

export interface UnindexedOptions {
  readonly policy: UnindexedPolicy;
  readonly indexes: IndexSource;
  readonly pulls: LayerPulls;
  /** Writes the files of a layer's directory except its record. */
  readonly plan: (request: PlanRequest) => Promise<Planned>;
  /** Whether a layer is here already: without an index of its own, or with that index. */
  readonly isKept: (digest: string, index?: string) => Promise<boolean>;
  readonly traces: TraceStore;
  readonly ranges: RangeSupport;
  readonly log: Log;
  readonly spans?: Spans | undefined;
}

/**
 * Makes layers whose blob and manifest name no index: by a layer index that is found, else by pulling the whole layer,
 * which makes one.
 */
export class UnindexedLayers {
  readonly #options: UnindexedOptions;
  /** Present and past requests for the manifests of images whose clients wait. */
  readonly #images = new Map<string, Promise<ReadonlyMap<string, Descriptor>>>();
  /** The layers of an image that were looked for together, while its client goes through them. */
  readonly #ahead = new RecentMap<ReadonlySet<string>>(maxImages);
  readonly #closing = new AbortController();
  readonly #keeper: IndexKeeper;

  constructor(options: UnindexedOptions) {
    this.#options = options;
    this.#keeper = new IndexKeeper(options);
  }

  /** Why such layers are left to their clients; undefined if they are not. */
  get refusal(): Refusal | undefined {
    const { policy, pulls } = this.#options;
    return policy.mode === 'client' || !pulls.isPossible ? unindexedRefusal() : undefined;
  }

  /**
   * Notes that a client asks for a layer, and will ask for its siblings: their indexes are looked for, and those
   * without one are pulled at the same time.
   *
   * @returns a function to call when the call is over
   */
  attend(ref: LayerRef): (isDone: boolean) => void {
    const { reference } = ref.image;
    const leaveImage = this.#options.pulls.attend(reference);
    const leave = (isDone: boolean): void => {
      leaveImage(isDone);
      if (!isDone) this.#ahead.delete(reference);
    };
    const wanted = [ref.id.digest, ...ref.siblings];
    const ahead = this.#ahead.get(reference);
    if (ahead !== undefined && wanted.every((digest) => ahead.has(digest))) return leave;
    this.#ahead.set(reference, new Set(wanted), aheadMs);
    void this.#lookAhead(ref).catch((error: unknown) => {
      this.#options.log.debug({ reference, error: messageOf(error) }, 'cannot look ahead at the layers of an image');
    });
    return leave;
  }

  /**
   * Fills the empty directory of a layer. Rejects with the reason if the layer is left to its client, or with that of
   * `signal`.
   */
  async make(ref: LayerRef, directory: LayerDirectory, signal: AbortSignal): Promise<MadeLayer> {
    const { refusal } = this;
    if (refusal !== undefined) throw refusal;
    const { spans = noSpans } = this.#options;
    const found = await spans.within('index lookup', {}, async (span) => {
      const index = await this.#find(ref, signal);
      span.set({ 'lazypull.index': index === undefined ? 'none' : originText(index.origin) });
      return index;
    });
    if (found !== undefined) {
      try {
        return await spans.within('plan', {}, () => this.#byIndex(ref, found, directory, signal));
      } catch (error) {
        signal.throwIfAborted();
        this.#giveUp(ref, found, error);
        await directory.clear();
      }
    }
    await this.#checkSize(ref, signal);
    return spans.within('pull', {}, () => this.#byPull(ref, directory, signal));
  }

  /** Ends what looks ahead, and keeps the indexes that were made. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#keeper[Symbol.asyncDispose]();
  }

  /** Keeps the index that was made for a layer in this directory, if that has not been done. It does not wait. */
  keepLeft(digest: string, directory: LayerDirectory): void {
    this.#keeper.keepLeft(digest, directory);
  }

  /** Bytes of the index file of a layer that is read by it. */
  async readIndex(
    digest: string,
    image: ImageAccess,
    range: { readonly start: number; readonly end: number },
    signal: AbortSignal,
  ): Promise<Buffer> {
    const found = await this.#options.indexes.find(digest, image, signal);
    if (found !== undefined) return found.range(range.start, range.end, signal);
    const why = this.#options.indexes.reasonFor(digest) ?? 'there is none';
    throw new LazypullError('Unavailable', `Cannot read the index of the layer: ${why}`);
  }

  /**
   * Notes that what came of a layer is not what its index says, from any server.
   *
   * @returns whether the index is given up, so that the layer is pulled the next time. One that was made here while all
   *   of the blob had its digest is right: then the registry has other bytes now
   */
  async refuse(digest: string, image: ImageAccess, error: LazypullError): Promise<boolean> {
    const found = await this.#options.indexes.find(digest, image).catch(() => undefined);
    if (found === undefined) return true;
    if (error instanceof WrongIndex) {
      found.poison(`is wrong: ${messageOf(error)}`);
      return true;
    }
    if (found.origin.kind !== 'made') {
      found.poison(`does not match the bytes of the blob ${digest}: ${messageOf(error)}`);
      return true;
    }
    this.#options.log.error(
      { layer: digest, reference: image.reference, index: found.digest, error: messageOf(error) },
      'the registry serves other bytes for a layer than those that its index was made from: readers get EIO until it serves the right ones',
    );
    return false;
  }

  /** The index of a layer, unless the layer is being pulled already. */
  async #find({ id: { digest }, image }: LayerRef, signal: AbortSignal): Promise<FoundIndex | undefined> {
    const { indexes, pulls } = this.#options;
    if (pulls.has(digest)) return undefined;
    const found = await indexes.find(digest, image, signal);
    signal.throwIfAborted();
    return found;
  }

  #giveUp({ id: { digest }, image: { reference } }: LayerRef, found: FoundIndex, error: unknown): void {
    const why = messageOf(error);
    const index = originText(found.origin);
    this.#options.log.warn(
      { layer: digest, reference, index, error: why },
      'cannot use the index of a layer: pulling it',
    );
    if (wrongIndex.has(codeOf(error))) found.poison(`is wrong: ${why}`);
  }

  async #byIndex(ref: LayerRef, found: FoundIndex, directory: LayerDirectory, signal: AbortSignal): Promise<MadeLayer> {
    const { plan, traces, log } = this.#options;
    const { id, format, image } = ref;
    const { reference } = image;
    const started = performance.now();
    const { size, path, origin } = found;
    const blob = image.blob(id.digest);
    const taking = this.#options.ranges.of(reference, blob);
    const file = fileOf(found);
    const raw = await format.fetchIndex(file, { data: await lastOf(found), size }, { signal });
    const fetchedMs = performance.now();
    const wanted = { layer: id.digest, index: id.index };
    const planned = await plan({ format: format.name, raw, wanted, paths: directory.paths });
    if (!(await taking)) throw noRanges();
    if (path !== undefined) await link(path, directory.indexPath);
    const { front, table, codecData, blobBytes, diskBytes, metadataBytes, sums } = planned;
    const sizes = { blobBytes, diskBytes, metadataBytes, chunks: table.length };
    const { digest, index: indexDigest } = id;
    const record = {
      version: recordVersion,
      digest,
      indexDigest,
      format: format.name,
      front,
      reference,
      ...sizes,
      sums,
    } as const;
    await directory.writeRecord(record);
    const resident = new Uint8Array(new SharedArrayBuffer(table.length));
    const index = originText(origin);
    const fetchMs = Math.round(Math.max(0, fetchedMs - started));
    const planMs = Math.round(performance.now() - Math.max(started, fetchedMs));
    log.info({ layer: digest, reference, files: table.length, index, fetchMs, planMs }, 'found the index of a layer');
    return {
      record,
      directory,
      format,
      table,
      codecData,
      resident,
      isOfThisBoot: true,
      blob,
      traces,
      origin: { how: 'index', text: `by an index ${index}` },
    };
  }

  async #byPull(ref: LayerRef, directory: LayerDirectory, signal: AbortSignal): Promise<MadeLayer> {
    const { pulls, traces, log } = this.#options;
    const {
      id: { digest },
      image,
    } = ref;
    const { reference } = image;
    const pulled = await pulls.take(image, digest, directory, signal);
    const { record, table, ms, index, isSettled, takesRanges } = pulled;
    if (!takesRanges) this.#options.ranges.refuses(reference);
    const hasIndex = 'bytes' in index;
    if (hasIndex) await this.#keeper.keep(digest, directory, index.bytes);
    const { blobBytes } = record;
    const made = hasIndex ? { indexBytes: index.bytes } : index;
    log.info({ layer: digest, reference, blobBytes, ms: Math.round(ms), ...made }, 'pulled a layer');
    const parts = takesRanges ? '' : `; it cannot be lazy: ${noRangesText}`;
    const what = (hasIndex ? 'index made' : `no index made: ${index.problem}`) + parts;
    const origin: LayerOrigin = { how: 'pull', text: `pulled here in ${(ms / 1000).toFixed(1)} s, ${what}` };
    const resident = new Uint8Array(new SharedArrayBuffer(table.length)).fill(residency.verified);
    const codecData = hasIndex ? index.codecData : undefined;
    const blob = image.blob(digest);
    // If nothing has been synced yet, it counts as from another boot: it is synced soon, without waiting for that.
    return {
      record,
      directory,
      format: ref.format,
      table,
      codecData,
      resident,
      isOfThisBoot: isSettled,
      blob,
      traces,
      origin,
    };
  }

  /** Throws if the policy leaves a blob of that size to the client. */
  async #checkSize({ image, id: { digest } }: LayerRef, signal: AbortSignal): Promise<void> {
    const { policy } = this.#options;
    if (!this.#isBounded) return;
    const known = (await this.#layersOf(image).catch(() => undefined))?.get(digest)?.size;
    const bytes = known ?? (await image.blob(digest).tail(1, signal)).size;
    if (this.#isInBounds(bytes)) return;
    const bound =
      bytes < policy.minBytes ? `less than min_size, ${policy.minBytes}` : `more than max_size, ${policy.maxBytes}`;
    throw new Refusal('size', 'FailedPrecondition', `The layer has ${bytes} bytes: ${bound}`);
  }

  /** Whether it depends on the size of a layer whether it is pulled. */
  get #isBounded(): boolean {
    const { minBytes, maxBytes } = this.#options.policy;
    return minBytes > 0 || maxBytes < Number.POSITIVE_INFINITY;
  }

  #isInBounds(bytes: number): boolean {
    const { minBytes, maxBytes } = this.#options.policy;
    return bytes >= minBytes && bytes <= maxBytes;
  }

  async #lookAhead({ image, id: { digest }, siblings }: LayerRef): Promise<void> {
    const { indexes, pulls, isKept } = this.#options;
    if (this.#options.policy.mode === 'client') return;
    indexes.lookAhead([digest, ...siblings], image);
    const absent: string[] = [];
    for (const sibling of siblings) {
      if (pulls.has(sibling) || (await isKept(sibling))) continue;
      if ((await indexes.find(sibling, image, this.#closing.signal)) === undefined) absent.push(sibling);
    }
    if (absent.length === 0) return; // a registry may count requests for manifests
    // Most images have one kind of layers. The first ones need not wait for the manifest.
    const early = this.#isBounded ? [] : absent.slice(0, maxEarly);
    for (const sibling of early) pulls.begin(image, sibling, 0);
    const layers = await this.#layersOf(image).catch((error: unknown) => {
      for (const sibling of early) pulls.giveUp(sibling);
      throw error;
    });
    const isWhole = await this.#options.ranges.isRefused(image.reference); // even what has a table of contents
    for (const sibling of absent) {
      const layer = layers.has(digest) ? layers.get(sibling) : undefined;
      const toc = layer?.annotations[tocDigestLabel];
      const isLeft = toc !== undefined && (!isWhole || (isSha256(toc) && (await isKept(sibling, toc))));
      const isWanted = layer !== undefined && !isLeft;
      if (!isWanted || !this.#isInBounds(layer.size)) pulls.giveUp(sibling);
      else pulls.begin(image, sibling, layer.size);
    }
  }

  /** The layers of an image by their digests; fetched once while a client goes through the image. */
  #layersOf(image: ImageAccess): Promise<ReadonlyMap<string, Descriptor>> {
    const { reference } = image;
    let layers = this.#images.get(reference);
    if (layers === undefined) {
      const signal = AbortSignal.any([AbortSignal.timeout(manifestMs), this.#closing.signal]);
      layers = image
        .manifest(signal)
        .then((manifest) => new Map(manifest.layers.map((layer) => [layer.digest, layer])));
      layers.catch(() => undefined);
      this.#images.set(reference, layers);
      setTimeout(() => this.#images.delete(reference), manifestMs * 6).unref();
    }
    return layers;
  }
}

/** Errors which show that an index is wrong, and not that it could not be fetched. */
const wrongIndex: ReadonlySet<ErrorCode> = new Set(['DataLoss', 'FailedPrecondition', 'ResourceExhausted']);

/** The end of the file. What else a mount needs is here too, or comes when it is read. */
function lastOf(found: FoundIndex): Promise<Buffer> {
  return found.range(Math.max(0, found.size - footerBytes), found.size);
}

function fileOf(found: FoundIndex): Pick<Blob, 'range'> {
  return {
    async *range(start, end, signal) {
      yield await found.range(start, end, signal);
    },
  };
}
