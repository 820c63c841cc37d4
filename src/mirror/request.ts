import { LazypullError } from '../errors.ts';
import { isDigest, parseReference, type Reference } from '../registry/reference.ts';

/** A request of a mirror's client, for the registry that it names with `ns`. */
export type MirrorRequest =
  | { readonly kind: 'version' }
  | { readonly kind: 'manifest'; readonly reference: Reference }
  | { readonly kind: 'blob'; readonly reference: Reference; readonly digest: string };

/** Longer than a host, a repository, a digest and the rest of the URL can be. */
const maxUrlLength = 2048;

/**
 * Reads the target of a request: `/v2/`, `/v2/<name>/manifests/<tag or digest>` or `/v2/<name>/blobs/<digest>` of the
 * distribution specification, with the registry in `?ns=HOST[:PORT]`, as containerd sends it to a mirror.
 *
 * @throws NotFound for another path; InvalidArgument for an invalid registry, name, tag or digest
 */
export function parseMirrorRequest(target: string): MirrorRequest {
  if (target.length > maxUrlLength || !URL.canParse(target, base)) {
    throw new LazypullError('InvalidArgument', 'Cannot read the URL of the request');
  }
  const { pathname, searchParams } = new URL(target, base);
  if (/^\/v2\/?$/.test(pathname)) return { kind: 'version' };
  const [, name, what, encoded] = /^\/v2\/([^%]+)\/(manifests|blobs)\/([^/]+)$/.exec(pathname) ?? [];
  if (name === undefined || encoded === undefined) {
    throw new LazypullError(
      'NotFound',
      'The mirror serves only /v2/<name>/manifests/<reference> and /v2/<name>/blobs/<digest>',
    );
  }
  const hosts = searchParams.getAll('ns');
  if (hosts.length !== 1) {
    throw new LazypullError('InvalidArgument', 'The request must name its registry, as in "?ns=docker.io"');
  }
  const wanted = encoded.replace(/%3a/gi, ':');
  if (what === 'manifests') {
    const isTag = !wanted.includes(':');
    return { kind: 'manifest', reference: referenceOf(hosts[0]!, name, `${isTag ? ':' : '@'}${wanted}`) };
  }
  if (!isDigest(wanted)) throw new LazypullError('InvalidArgument', 'The blob must be named by its digest');
  return { kind: 'blob', reference: referenceOf(hosts[0]!, name, ''), digest: wanted };
}

/** For relative URLs; nothing is sent there. */
const base = 'http://mirror.invalid';

/** The reference, if host and name are valid: nothing in one of them may become a part of the other. */
function referenceOf(host: string, name: string, rest: string): Reference {
  const reference = parseReference(`${host}/${name}${rest}`);
  const isName = reference.repository === name || reference.repository === `library/${name}`;
  if (reference.host === host && isName) return reference;
  throw new LazypullError('InvalidArgument', 'The registry must be a host name with an optional port');
}
