import { createHash } from 'node:crypto';

/** A client certificate with its key, both in PEM. */
export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
}

/** Special TLS settings of one endpoint. */
export interface EndpointTls {
  /** Equal for equal content. */
  readonly id: string;
  /** Certificate authorities in PEM, trusted in addition to all others. */
  readonly authorities: readonly string[];
  readonly clients: readonly ClientCertificate[];
  /** Whether any certificate is accepted. */
  readonly skipVerify: boolean;
}

/** Undefined if there are no special settings. */
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
 * For registries of this machine that are not configured for TLS: any certificate is accepted, as in containerd and
 * Docker.
 */
export const anyCertificate: EndpointTls = endpointTls([], [], true)!;

/** For another host to which the endpoint redirected: the same trust, but no client certificates. */
export function withoutClients(tls: EndpointTls | undefined): EndpointTls | undefined {
  return tls === undefined || tls.clients.length === 0 ? tls : endpointTls(tls.authorities, [], tls.skipVerify);
}
