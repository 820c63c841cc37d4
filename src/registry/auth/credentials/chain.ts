import type { Credential, CredentialSource, Wanted } from './credential-source.ts';

/** A credential, and the source that had it. */
export interface Found {
  readonly credential: Credential;
  readonly source: CredentialSource;
}

/** Several sources as one: the first that has a credential counts. */
export class CredentialChain {
  readonly #sources: readonly CredentialSource[];

  constructor(sources: readonly CredentialSource[]) {
    this.#sources = sources;
  }

  /** Throws the error of the first broken source, if no other source has a credential. */
  async find(wanted: Wanted): Promise<Found | undefined> {
    const problems: unknown[] = [];
    for (const source of this.#sources) {
      try {
        const credential = await source.find(wanted);
        if (credential !== undefined) return { credential, source };
      } catch (error) {
        problems.push(error);
      }
    }
    if (problems.length > 0) throw problems[0];
    return undefined;
  }

  /**
   * What a person can do about a registry that refuses.
   *
   * @param source the source whose credential was not enough; undefined if none had any
   */
  advice(host: string, source: CredentialSource | undefined): string {
    if (source !== undefined) return source.advice(host, true);
    const advice = this.#sources.map((each) => each.advice(host, false));
    return advice.length === 0 ? `there are no credentials for "${host}"` : advice.join('; or ');
  }
}
