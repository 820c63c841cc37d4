import type { IndexArtifact } from './artifact.ts';
import type { IndexOrigin } from './index-origin.ts';
import { TrustedKeys } from './signature.ts';

/** What an operator lets vouch for an index. */
export interface TrustOptions {
  /** `host/repository` of the team's indexes; undefined for none. */
  readonly repository?: string | undefined;
  /** Whether what is attached to an image counts. */
  readonly referrers: boolean;
  /** Texts of Ed25519 public keys; if there is one, only what it signed counts, and what was made here. */
  readonly trustedKeys: readonly string[];
}

/**
 * Whether an index may be used. One that was made here is right: the whole layer was hashed meanwhile. Any other one is
 * believed for where it comes from, and for its signature if there are trusted keys.
 */
export class IndexTrust {
  readonly #repository: string | undefined;
  readonly #referrers: boolean;
  readonly #keys: TrustedKeys;

  /** @throws InvalidArgument for a key that is none */
  constructor({ repository, referrers, trustedKeys }: TrustOptions) {
    this.#repository = repository;
    this.#referrers = referrers;
    this.#keys = new TrustedKeys(trustedKeys);
  }

  /** Why an index is not used, to stand behind "it"; undefined if it is. */
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
