import { LazypullError } from '../../errors.ts';
import type { Blob } from '../../registry/blob/blob.ts';
import { parseReference } from '../../registry/reference.ts';
import { RecentMap } from '../../util/recent-map.ts';

/** For how long it is remembered what a registry does. */
const rememberedMs = 600_000;

/** The same of one that did not answer in time. */
const unknownMs = 60_000;

/** How long an answer may take: reading would wait for the same one. */
const answerMs = 2_000;

const maxRegistries = 256;

/**
 * Which registries give parts of blobs. Others send all of a blob whatever is asked for: no layer of theirs can be
 * lazy.
 */
export class RangeSupport {
  readonly #known = new RecentMap<Promise<boolean>>(maxRegistries);

  /**
   * Whether the registry of an image gives parts of a blob of it. It is taken for granted if that cannot be found
   * out. Never rejects.
   */
  of(reference: string, blob: Blob): Promise<boolean> {
    const { host } = parseReference(reference);
    const known = this.#known.get(host);
    if (known !== undefined) return known;
    const asking = blob.describe(AbortSignal.timeout(answerMs)).then(
      ({ takesRanges }) => takesRanges,
      () => {
        this.#known.set(host, asking, unknownMs);
        return true;
      },
    );
    this.#known.set(host, asking, rememberedMs);
    return asking;
  }

  /** Whether the registry of an image is known to send all of a blob whatever is asked for. Asks nothing. */
  async isRefused(reference: string): Promise<boolean> {
    const known = this.#known.get(parseReference(reference).host);
    return known !== undefined && !(await known);
  }

  /**
   * Notes that the registry of an image was seen to send all of a blob. (That it sent a part says nothing: small
   * blobs come whole from any.)
   */
  refuses(reference: string): void {
    this.#known.set(parseReference(reference).host, Promise.resolve(false), rememberedMs);
  }
}

/** What such a registry means for a layer. */
export const noRangesText = 'its registry gives no parts of layers';

export function noRanges(): LazypullError {
  return new LazypullError('Unimplemented', `The layer cannot be lazy: ${noRangesText}`);
}
