/** The scope of a token that reads a repository (distribution spec, token scope documentation). */
export function pullScope(repository: string): string {
  return `repository:${repository}:pull`;
}

/** The scope of a token that writes a repository, and that reads `from` if blobs are mounted from there. */
export function pushScope(repository: string, from?: string): string {
  const own = `repository:${repository}:pull,push`;
  return from === undefined || from === repository ? own : `${own} ${pullScope(from)}`;
}

/**
 * The scope that a request to a registry needs, according to its URL; empty if it does not belong to the distribution
 * protocol.
 */
export function scopeOf(method: string, url: URL): string {
  const repository = /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\//.exec(url.pathname)?.[1];
  if (repository === undefined) return '';
  return method === 'GET' || method === 'HEAD' ? pullScope(repository) : pushScope(repository);
}

/** The repository of the first scope in a list; undefined if that concerns something else. */
export function repositoryOf(scope: string): string | undefined {
  return /^repository:(.+?):[a-z,*]*(?: |$)/.exec(scope)?.[1];
}

const maxScopes = 16;

/** The scopes of both lists, separated by blanks; actions on the same resource are joined. */
export function mergeScopes(first: string, second: string): string {
  const actions = new Map<string, Set<string>>();
  for (const scope of `${first} ${second}`.split(/\s+/).filter(Boolean).slice(0, maxScopes)) {
    const colon = scope.lastIndexOf(':');
    const resource = colon === -1 ? scope : scope.slice(0, colon);
    const set = actions.get(resource) ?? new Set();
    actions.set(resource, set);
    if (colon !== -1) for (const action of scope.slice(colon + 1).split(',')) set.add(action);
  }
  return [...actions]
    .map(([resource, set]) => (set.size === 0 ? resource : `${resource}:${[...set].join(',')}`))
    .join(' ');
}
