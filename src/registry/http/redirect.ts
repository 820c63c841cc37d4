import { isLoopback, type Zone, zoneOf } from '../hosts/addresses.ts';
import type { Route } from './connections.ts';
import { type Asked, nameOf, RegistryError } from '../errors.ts';
import type { Endpoint, Hosts } from '../hosts/hosts.ts';
import { anyCertificate, withoutClients } from './tls.ts';

const maxLocationLength = 16_384;

/** Maximum number of hops of one request. */
export const maxRedirects = 5;

/**
 * Whether a status redirects a request to the Location header, with its method and its body: only 307 and 308 do if it
 * has a body.
 */
export function isRedirect(status: number, hasBody = false): boolean {
  return status === 307 || status === 308 || (!hasBody && (status === 301 || status === 302 || status === 303));
}

/**
 * The URL in a header of an answer to `asked` (Location, or the realm of a challenge), which may be relative. Throws
 * PermissionDenied if it must not be followed: another scheme than http and https; this machine or a link-local
 * address, unless the asked server is in that `zone` too or `hosts` names it; or plain HTTP from https, unless `hosts`
 * allows it for that host.
 */
export function followable(asked: Asked, location: string | undefined, hosts: Hosts, zone: Zone): URL {
  const refuse = (why: string): never => {
    throw new RegistryError(
      'PermissionDenied',
      `Cannot ${nameOf(asked)}: refused to follow the server elsewhere: ${why}`,
    );
  };
  if (location === undefined || location === '') return refuse('it named no URL');
  if (location.length > maxLocationLength || !URL.canParse(location, asked.url.href))
    return refuse('it named no valid URL');
  const url = new URL(location, asked.url);
  url.hash = '';
  url.username = '';
  url.password = '';
  const target = `"${url.protocol}//${url.host}"`;
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return refuse(`${target} is neither http nor https`);
  const targetZone = zoneOf(url.hostname);
  if (targetZone !== 'anywhere' && targetZone !== zone && !hosts.names(url)) {
    const what = targetZone === 'link-local' ? 'a link-local address' : targetZone;
    return refuse(`${target} is ${what}; name it as a mirror if it is right`);
  }
  if (url.protocol === 'http:' && asked.url.protocol === 'https:' && !hosts.allowsPlainHttp(url)) {
    return refuse(`${target} is plain HTTP after https; allow it as an insecure mirror if it is right`);
  }
  return url;
}

/**
 * How to connect to a URL that an endpoint named: to no other special zone unless `hosts` names the URL's host, and
 * with a client certificate only to its own host.
 */
export function routeFrom(
  endpoint: Endpoint,
  url: URL,
  hosts: Hosts,
  zones: { zoneOf(hostname: string): Zone },
): Omit<Route, 'url'> {
  if (url.origin === endpoint.origin) return { tls: endpoint.tls, zone: endpoint.zone };
  const own = new URL(endpoint.origin).hostname;
  const zone = hosts.names(url) ? undefined : zones.zoneOf(own);
  if (url.hostname === own) return { zone, tls: endpoint.tls };
  // This machine needs no certificate, but others do.
  const isHereOnly = endpoint.tls === anyCertificate && !isLoopback(url.hostname);
  return { zone, tls: isHereOnly ? undefined : withoutClients(endpoint.tls) };
}
