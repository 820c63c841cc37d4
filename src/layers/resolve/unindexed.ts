import { messageOf } from '../../errors.ts';
import type { Descriptor } from '../../images/manifest.ts';
import { tocDigestLabel } from '../../label-names.ts';
import type { Log } from '../../log.ts';
import type { Blob } from '../../registry/blob/blob.ts';
import type { LayerOrigin } from '../layer-origin.ts';
import type { LayerOptions } from '../layer.ts';
import type { TraceStore } from '../prefetch/trace.ts';
import type { LayerDirectory } from '../store/layer-directory.ts';
import { type LayerRef, unindexedRefusal } from './layer-ref.ts';
import type { LayerPulls } from './layer-pulls.ts';
import { Refusal } from './refusal.ts';

/** What is done with layers whose labels name no index. Sizes are those of blobs, in bytes. */
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

/** How long the manifest of an image may take that tells which of its layers are unindexed. */
const manifestMs = 10_000;

export interface UnindexedOptions {
  readonly policy: UnindexedPolicy;
  readonly openBlob: (reference: string, digest: string) => Blob;
  /** The layers of an image for this machine; rejects if they cannot be had. */
  readonly layersOf: (reference: string, signal: AbortSignal) => Promise<readonly Descriptor[]>;
  readonly pulls: LayerPulls;
  /** Whether a layer is here already. */
  readonly isKept: (digest: string) => Promise<boolean>;
  readonly traces: TraceStore;
  readonly log: Log;
}

/** Makes layers whose blob and manifest name no index, by pulling all of them. */
export class UnindexedLayers {
  readonly #options: UnindexedOptions;
  /** The manifests that are being asked for, or were, of images whose clients wait. */
  readonly #images = new Map<string, Promise<ReadonlyMap<string, Descriptor>>>();
  readonly #closing = new AbortController();

  constructor(options: UnindexedOptions) {
    this.#options = options;
  }

  /** Throws the reason if such layers are left to their clients. */
  check(): void {
    const { policy, pulls } = this.#options;
    if (policy.mode === 'client' || !pulls.isPossible) throw unindexedRefusal();
  }

  /**
   * Notes that a client asks for a layer, and will ask for its siblings: those that are unindexed too are pulled beside it.
   *
   * @returns what to call when the call is over
   */
  attend(ref: LayerRef): (isDone: boolean) => void {
    const leave = this.#options.pulls.attend(ref.reference);
    void this.#ahead(ref).catch((error: unknown) => {
      this.#options.log.debug({ reference: ref.reference, error: messageOf(error) }, 'cannot look ahead in an image');
    });
    return leave;
  }

  /** Fills the empty directory of a layer. Rejects with the reason when the layer is left to its client, or with that of `signal`. */
  async make(ref: LayerRef, directory: LayerDirectory, signal: AbortSignal): Promise<MadeLayer> {
    this.check();
    await this.#checkSize(ref, signal);
    return this.#byPull(ref, directory, signal);
  }

  close(): void {
    this.#closing.abort();
  }

  async #byPull(ref: LayerRef, directory: LayerDirectory, signal: AbortSignal): Promise<MadeLayer> {
    const { openBlob, pulls, traces, log } = this.#options;
    const {
      id: { digest },
      reference,
    } = ref;
    const pulled = await pulls.take(reference, digest, directory, signal);
    const { record, table, resident, ms, index } = pulled;
    const what = index === undefined ? 'no index made' : 'index made';
    const blobBytes = record.blobBytes;
    log.info({ layer: digest, reference, blobBytes, ms: Math.round(ms), index: index?.bytes }, 'pulled a layer');
    const origin: LayerOrigin = { how: 'pull', text: `pulled here in ${(ms / 1000).toFixed(1)} s, ${what}` };
    return {
      record,
      directory,
      format: ref.format,
      table,
      resident,
      isOfThisBoot: true,
      blob: openBlob(reference, digest),
      traces,
      origin,
    };
  }

  /** Throws if the policy leaves a blob of that size to the client. */
  async #checkSize({ reference, id: { digest } }: LayerRef, signal: AbortSignal): Promise<void> {
    const { policy, openBlob } = this.#options;
    if (policy.minBytes <= 0 && policy.maxBytes === Number.POSITIVE_INFINITY) return;
    const known = (await this.#layersOf(reference).catch(() => undefined))?.get(digest)?.size;
    const bytes = known ?? (await openBlob(reference, digest).tail(1, signal)).size;
    if (this.#isInBounds(bytes)) return;
    const bound =
      bytes < policy.minBytes ? `less than min_size, ${policy.minBytes}` : `more than max_size, ${policy.maxBytes}`;
    throw new Refusal('size', 'FailedPrecondition', `The layer has ${bytes} bytes: ${bound}`);
  }

  #isInBounds(bytes: number): boolean {
    const { minBytes, maxBytes } = this.#options.policy;
    return bytes >= minBytes && bytes <= maxBytes;
  }

  async #ahead({ reference, id: { digest }, siblings }: LayerRef): Promise<void> {
    const { pulls, isKept } = this.#options;
    if (this.#options.policy.mode === 'client') return;
    if (siblings.length === 0) return;
    const layers = await this.#layersOf(reference);
    if (!layers.has(digest)) return;
    for (const sibling of siblings) {
      const layer = layers.get(sibling);
      if (layer === undefined || layer.annotations[tocDigestLabel] !== undefined) continue;
      if (pulls.has(sibling) || !this.#isInBounds(layer.size) || (await isKept(sibling))) continue;
      pulls.begin(reference, sibling, layer.size);
    }
  }

  /** The layers of an image by their digests; asked for once while a client goes through the image. */
  #layersOf(reference: string): Promise<ReadonlyMap<string, Descriptor>> {
    let layers = this.#images.get(reference);
    if (layers === undefined) {
      const signal = AbortSignal.any([AbortSignal.timeout(manifestMs), this.#closing.signal]);
      layers = this.#options
        .layersOf(reference, signal)
        .then((descriptors) => new Map(descriptors.map((layer) => [layer.digest, layer])));
      layers.catch(() => undefined);
      this.#images.set(reference, layers);
      setTimeout(() => this.#images.delete(reference), manifestMs * 6).unref();
    }
    return layers;
  }
}
