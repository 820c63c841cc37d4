import type { CredentialSource } from '../../src/registry/auth/credentials/credential-source.ts';

/** A source that has one user for the registries that `isKnown` picks, and all by default. */
export function knownUser(
  user: { readonly username: string; readonly password: string },
  isKnown: (host: string) => boolean = () => true,
): CredentialSource {
  return {
    place: 'the test',
    find: ({ host }) => Promise.resolve(isKnown(host) ? { kind: 'password', ...user } : undefined),
    advice: () => 'mend the test',
  };
}
