import { LazypullError } from '../../errors.ts';
import { isInNetwork, isLoopback } from './addresses.ts';

/**
 * The proxy that the environment names for a URL, as curl and Go read it: `http_proxy` for http, `https_proxy` for
 * https (or in capitals), never for this machine itself or for hosts in `no_proxy`. Undefined if there is none. Throws
 * InvalidArgument if it is not the URL of an HTTP proxy.
 */
export function proxyFor(url: URL, environment: NodeJS.ProcessEnv): URL | undefined {
  const name = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const text = environment[name] || environment[name.toUpperCase()];
  if (!text || isLoopback(url.hostname) || isExempt(url, environment['no_proxy'] || environment['NO_PROXY'] || ''))
    return undefined;
  const proxy = /^[a-z0-9]+:\/\//i.test(text) ? text : `http://${text}`;
  const parsed = URL.canParse(proxy) ? new URL(proxy) : undefined;
  if (parsed?.protocol !== 'http:' && parsed?.protocol !== 'https:') {
    throw new LazypullError(
      'InvalidArgument',
      `Cannot use the proxy of the environment variable "${name}": it is not like "http://HOST:PORT"`,
    );
  }
  return parsed;
}

/**
 * Whether a list like `no_proxy` names the host of a URL. An entry is `*`, a name (with the names below it), `.name` or
 * `*.name` (only those below it), an address, or a network (`10.0.0.0/8`). All but a network may end in `:port`.
 */
function isExempt(url: URL, list: string): boolean {
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  const hostname = bare(url.hostname);
  return list.split(/[\s,]+/).some((entry) => {
    if (entry === '*') return true;
    if (entry.includes('/')) return isInNetwork(hostname, entry);
    const [, name = '', entryPort] = /^(\[[^\]]*\]|[^:]*|[^:]*:[^:]*:.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
    if (name === '' || (entryPort !== undefined && entryPort !== port)) return false;
    const wanted = bare(name).replace(/^\*\./, '.');
    if (wanted.startsWith('.')) return hostname.endsWith(wanted);
    return hostname === wanted || hostname.endsWith(`.${wanted}`);
  });
}

function bare(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
}
