/** What proves to a registry who we are. */
export type Credential =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  | { readonly kind: 'identity-token'; readonly token: string };

/** What a credential is wanted for. */
export interface Wanted {
  /** The registry, as image references name it: `docker.io`, `localhost:5000`. */
  readonly host: string;
  /** Undefined if the request is about no repository. */
  readonly repository: string | undefined;
  /** Those of the snapshot for which it is asked; none if the caller has none. */
  readonly labels: Readonly<Record<string, string>>;
}

/** A place where credentials may be. A new one is a file beside this one and a line in `index.ts`. */
export interface CredentialSource {
  /** Where it looks, for people: a path, or a name. */
  readonly place: string;
  /**
   * The credential, or undefined if it has none. It is asked again for each new token, so it sees changes. Throws if
   * what is there cannot be used, with what mends it as the hint.
   */
  find(wanted: Wanted): Promise<Credential | undefined>;
  /**
   * What a person can do about a registry that refuses: `isFound` says whether the source had a credential, which was
   * not enough. A sentence without a capital.
   */
  advice(host: string, isFound: boolean): string;
  /**
   * For `lazypull check`: looks at all that can be looked at without asking another program. Throws for the first thing
   * that cannot be read.
   *
   * @param isProgram whether PATH has a program of that name
   * @returns what is there, in words
   */
  check?(isProgram: (name: string) => boolean): Promise<string>;
}
