import { isLinkLocal, isThisMachine } from './addresses.ts';
import { type Asked, nameOf, RegistryError } from './errors.ts';
import type { Hosts } from './hosts.ts';

const maxLocationLength = 16_384;

/** The most hops of one request. */
export const maxRedirects = 5;

/** Whether a status sends a request without a body on to the Location header. */
export function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

/**
 * The URL in a header of an answer to `asked` (Location, or the realm of a challenge), which may be relative. Throws PermissionDenied where we do not go
 * there: another scheme than http and https, a link-local address, this machine from another one, or plain HTTP from https unless `hosts` allows it for that host.
 */
export function followable(asked: Asked, location: string | undefined, hosts: Hosts): URL {
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
  if (isLinkLocal(url.hostname)) return refuse(`${target} is a link-local address`);
  if (isThisMachine(url.hostname) && !isThisMachine(asked.url.hostname) && !hosts.isMirror(url)) {
    return refuse(`${target} is this machine; name it as a mirror where it is right`);
  }
  if (url.protocol === 'http:' && asked.url.protocol === 'https:' && !hosts.allowsPlainHttp(url)) {
    return refuse(`${target} is plain HTTP after https; allow it as an insecure mirror where it is right`);
  }
  return url;
}
