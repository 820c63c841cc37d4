import { createHash } from 'node:crypto';

/** A client certificate with its key, both in PEM. */
export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
}

/** What is special about TLS with one endpoint. */
export interface EndpointTls {
  /** The same for the same content. */
  readonly id: string;
  /** Certificate authorities in PEM, trusted beside all others. */
  readonly authorities: readonly string[];
  readonly clients: readonly ClientCertificate[];
  /** Whether any certificate is taken. */
  readonly skipVerify: boolean;
}

/** Undefined if nothing is special. */
export function endpointTls(
  authorities: readonly string[],
  clients: readonly ClientCertificate[],
  skipVerify: boolean,
): EndpointTls | undefined {
  if (authorities.length === 0 && clients.length === 0 && !skipVerify) return undefined;
  const content = JSON.stringify([authorities, clients, skipVerify]);
  return { id: createHash('sha256').update(content).digest('hex'), authorities, clients, skipVerify };
}

/**
 * For registries of this machine, of which it is not configured that they speak TLS: any certificate is taken, as
 * containerd and Docker do there.
 */
export const anyCertificate: EndpointTls = endpointTls([], [], true)!;

/** For another host to which the endpoint sent us: as much trust, but nothing that proves who we are. */
export function withoutClients(tls: EndpointTls | undefined): EndpointTls | undefined {
  return tls === undefined || tls.clients.length === 0 ? tls : endpointTls(tls.authorities, [], tls.skipVerify);
}
