import { isIPv6 } from 'node:net';
import { LazypullError } from '../errors.ts';

/** The place of an image: a registry host, a repository in it, and a tag or a digest or both. */
export interface Reference {
  /**
   * `docker.io`, `localhost:5000`, `[::1]:5000`, …, as Docker normalises it: the name and not the address of the
   * server.
   */
  readonly host: string;
  /** `library/alpine`, … */
  readonly repository: string;
  readonly tag?: string | undefined;
  /** `sha256:<hex>`; if it is there, it decides, and the tag is only a note. */
  readonly digest?: string | undefined;
}

/** Docker's default tag, for a reference with neither tag nor digest. */
export const defaultTag = 'latest';

const defaultHost = 'docker.io';
const legacyDefaultHost = 'index.docker.io';
const officialPrefix = 'library/';

/**
 * Bounds of github.com/distribution/reference (repository, tag) and of DNS (host), with room for a port and brackets.
 */
const maxRepositoryLength = 255;
const maxHostLength = 255 + '[]:65535'.length;
const maxReferenceLength = maxHostLength + maxRepositoryLength + 128 + 'sha512:'.length + 128 + '/:@'.length;
const maxPort = 65_535;

const pathComponents = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^\w[\w.-]{0,127}$/;
const hostName =
  /^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*$/;
const imageId = /^[a-f0-9]{64}$/;
const digestLengths = new Map([
  ['sha256', 64],
  ['sha384', 96],
  ['sha512', 128],
]);

/**
 * Reads a reference as Docker writes it (github.com/distribution/reference, `ParseNormalizedNamed`): `alpine`,
 * `user/x:tag`, `localhost:5000/a/b:tag@sha256:…`, `[::1]:5000/x`. A name without a host belongs to docker.io, and a
 * name of docker.io without a slash to `library/`. The tag is undefined if none is written. Throws InvalidArgument.
 */
export function parseReference(text: string): Reference {
  if (text.length > maxReferenceLength) {
    throw new LazypullError(
      'InvalidArgument',
      `Cannot parse the image reference: ${text.length} characters are too many`,
    );
  }
  const fail = (why: string): never => {
    throw new LazypullError('InvalidArgument', `Cannot parse the image reference ${JSON.stringify(text)}: ${why}`);
  };

  const at = text.indexOf('@');
  const digest = at === -1 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) fail('the digest is not like "sha256:" and 64 lower-case hex digits');

  const name = at === -1 ? text : text.slice(0, at);
  const colon = name.indexOf(':', name.lastIndexOf('/') + 1);
  const tag = colon === -1 ? undefined : name.slice(colon + 1);
  if (tag !== undefined && !tagPattern.test(tag)) fail('the tag must be up to 128 letters, digits, "_", "." and "-"');

  const { host, repository } = splitHost(colon === -1 ? name : name.slice(0, colon));
  if (!isHost(host)) fail(`"${host}" is not a host name with an optional port`);
  if (imageId.test(repository)) fail('64 hex digits are an image ID, not a name');
  if (repository.length > maxRepositoryLength)
    fail(`the repository name is longer than ${maxRepositoryLength} characters`);
  if (!repository.split('/').every((component) => pathComponents.test(component))) {
    fail('a repository name is lower-case letters and digits, separated by ".", "_", "__", "-" or "/"');
  }
  return {
    host,
    repository: host === defaultHost && !repository.includes('/') ? officialPrefix + repository : repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/**
 * The full reference: `docker.io/library/alpine:3.20@sha256:…`. `parseReference` turns it into the same reference
 * again.
 */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${reference.host}/${reference.repository}${tag}${digest}`;
}

/** Whether a text is a digest of an algorithm that we can compute: sha256, sha384 or sha512, in lower-case hex. */
export function isDigest(text: string): boolean {
  const colon = text.indexOf(':');
  const hex = text.slice(colon + 1);
  return digestLengths.get(text.slice(0, Math.max(colon, 0))) === hex.length && /^[a-f0-9]*$/.test(hex);
}

/** The first component is a host if it could not be a repository's, or is `localhost`. */
function splitHost(name: string): { host: string; repository: string } {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  const isName = !/[.:]/.test(first) && first !== 'localhost' && first.toLowerCase() === first;
  if (slash === -1 || isName) return { host: defaultHost, repository: name };
  return { host: first === legacyDefaultHost ? defaultHost : first, repository: name.slice(slash + 1) };
}

function isHost(host: string): boolean {
  if (host.length > maxHostLength) return false;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^[\]:]+))(?::([0-9]{1,5}))?$/.exec(host);
  if (match === null) return false;
  const [, ipv6, name, port] = match;
  if (port !== undefined && Number(port) > maxPort) return false;
  const isName = ipv6 !== undefined ? isIPv6(ipv6) : hostName.test(name ?? '');
  return isName && URL.canParse(`http://${host}`); // a name that ends in a number must be an IPv4 address
}
