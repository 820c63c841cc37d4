/** Proof of our identity for a registry. */
export type Credential =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  | { readonly kind: 'identity-token'; readonly token: string };

/** Labels of a snapshot. */
export type Labels = Readonly<Record<string, string>>;

/** The purpose of a credential. */
export interface Wanted {
  /** The registry, as image references name it: `docker.io`, `localhost:5000`. */
  readonly host: string;
  /** Undefined if the request concerns no repository. */
  readonly repository: string | undefined;
  /**
   * The labels of the snapshot that needs it; none if the caller has none. What a registry grants to one snapshot
   * counts for the whole repository, until it expires.
   */
  readonly labels: Labels;
}

/** A place of credentials. A new one is a file beside this one and a line in `index.ts`. */
export interface CredentialSource {
  /** Its name for people: a path, or a name. */
  readonly place: string;
  /**
   * The credential, or undefined if it has none. It is called again for each new token, so it sees changes. Throws if
   * the source cannot be used, with what to do as the hint.
   */
  find(wanted: Wanted): Promise<Credential | undefined>;
  /**
   * What a person can do about a registry that refuses. `isFound` says whether the source had a credential, which was
   * not enough. A sentence without a capital.
   */
  advice(host: string, isFound: boolean): string;
  /**
   * For `lazypull check`: checks everything that needs no other program. Throws the first problem.
   *
   * @param isProgram whether PATH has a program of that name
   * @returns the finding, in words
   */
  check?(isProgram: (name: string) => boolean): Promise<string>;
}
