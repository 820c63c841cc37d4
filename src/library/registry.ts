/**
 * The package as other programs use it: `src/index.ts` exports it. Stable names and shapes around the rooms below.
 *
 * Begin with `openRegistry`. Then `image.ts` reads files, `inspect.ts` looks at layers, and `convert.ts` makes an image
 * lazy.
 */

import { LazypullError } from '../errors.ts';
import type { CredentialSource } from '../registry/auth/credentials/credential-source.ts';
import type { RegistryClient } from '../registry/client.ts';

/** The identity of a user at a registry: a name and a password, or an identity token as `docker login` stores it. */
export type Login = { readonly username: string; readonly password: string } | { readonly identityToken: string };

/** How to reach registries. Every field has a default. */
export interface RegistryOptions {
  /**
   * `none`, the default, asks for everything anonymously. `docker` uses the logins of `docker login`, with its
   * credential helpers. A function is called for the login at a host, such as `docker.io` or `localhost:5000`.
   */
  readonly logins?: 'none' | 'docker' | ((host: string) => Promise<Login | undefined>) | undefined;
  /**
   * Directories with a `HOST/hosts.toml` for a registry, as containerd has them, separated by colons. They name
   * mirrors, certificates and registries that speak plain HTTP. None by default.
   */
  readonly hostsDirectory?: string | undefined;
  /** Certificate authorities in PEM to trust in addition to those of Node and of the system. */
  readonly certificates?: readonly string[] | undefined;
}

/** An open client of registries. One serves all hosts, and keeps connections and tokens. */
export interface Registry extends AsyncDisposable {
  /** Ends all connections. Requests under way fail. */
  close(): Promise<void>;
}

/**
 * Makes a client of OCI registries. It sends no request yet. Close it, or declare it with `await using`.
 *
 * A registry on a loopback address may speak plain HTTP. Any other one has to speak HTTPS, unless a `hosts.toml` says
 * otherwise. Proxies come from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
 */
export async function openRegistry(options: RegistryOptions = {}): Promise<Registry> {
  const { RegistryClient } = await import('../registry/client.ts');
  const client = new RegistryClient({
    credentials: await credentialsOf(options.logins ?? 'none'),
    hosts: { config_path: options.hostsDirectory },
    certificates: options.certificates ?? [],
  });
  return new OpenRegistry(client);
}

/**
 * @throws InvalidArgument if `openRegistry` has not made it
 * @internal
 */
export function clientOf(registry: Registry): RegistryClient {
  if (registry instanceof OpenRegistry) return registry.client;
  throw new LazypullError('InvalidArgument', 'Cannot use this registry: "openRegistry" has not made it');
}

class OpenRegistry implements Registry {
  readonly client: RegistryClient;

  constructor(client: RegistryClient) {
    this.client = client;
  }

  close(): Promise<void> {
    return this.client.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function credentialsOf(logins: NonNullable<RegistryOptions['logins']>): Promise<CredentialSource[]> {
  if (logins === 'none') return [];
  if (logins === 'docker') {
    const { credentialSources } = await import('../registry/auth/credentials/index.ts');
    return credentialSources();
  }
  return [
    {
      place: 'the program that uses lazypull',
      async find({ host }) {
        const login = await logins(host);
        if (login === undefined) return undefined;
        if ('identityToken' in login) return { kind: 'identity-token', token: login.identityToken };
        return { kind: 'password', username: login.username, password: login.password };
      },
      advice: (host, isFound) =>
        isFound
          ? `the login that the program has for "${host}" was not enough`
          : `the program that uses lazypull has no login for "${host}"`,
    },
  ];
}
