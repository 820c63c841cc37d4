import type { CredentialSource } from './credential-source.ts';
import { dockerConfig } from './docker-config.ts';

/**
 * All sources of credentials, in this order: each is a file of this folder and a line here. The first one with a
 * credential counts.
 */
const sources: readonly ((environment: NodeJS.ProcessEnv) => CredentialSource)[] = [dockerConfig];

/** The sources of a process with this environment. */
export function credentialSources(environment: NodeJS.ProcessEnv = process.env): CredentialSource[] {
  return sources.map((source) => source(environment));
}
