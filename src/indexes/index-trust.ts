import type { IndexArtifact } from './artifact.ts';
import type { IndexOrigin } from './index-origin.ts';
import { TrustedKeys } from './signature.ts';

/** The operator's decision about what makes an index trusted. */
export interface TrustOptions {
  /** `host/repository` of the team's indexes; undefined for none. */
  readonly repository?: string | undefined;
  /** Whether referrers of an image are trusted. */
  readonly referrers: boolean;
  /**
   * Ed25519 public keys as text. If there is one, only indexes with its signature are trusted, and those that were made
   * here.
   */
  readonly trustedKeys: readonly string[];
}

/**
 * Decides whether an index may be used. An index that was made here is right: the whole layer was hashed meanwhile. Any
 * other index is trusted because of its origin, and because of its signature if there are trusted keys.
 */
export class IndexTrust {
  readonly #repository: string | undefined;
  readonly #referrers: boolean;
  readonly #keys: TrustedKeys;

  /** @throws InvalidArgument for an invalid key */
  constructor({ repository, referrers, trustedKeys }: TrustOptions) {
    this.#repository = repository;
    this.#referrers = referrers;
    this.#keys = new TrustedKeys(trustedKeys);
  }

  /** Why an index is not used, after the word "it"; undefined if it is used. */
  problemWith(index: IndexArtifact, origin: IndexOrigin): string | undefined {
    if (origin.kind === 'made') return undefined;
    if (this.#keys.size > 0) return this.#keys.problemWith(index, index.signature);
    if (origin.kind === 'repository' && origin.where !== this.#repository) {
      return `came from "${origin.where}", which is not "index.repository" now`;
    }
    if (origin.kind === 'referrer' && !this.#referrers) return 'was attached to an image, and "index.referrers" is off';
    return undefined;
  }
}
