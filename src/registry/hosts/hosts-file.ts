import { readdir } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { errnoOf, LazypullError, messageOf } from '../../errors.ts';
import { readGivenFile } from '../../kernel/given-file.ts';
import { parseTomlText } from '../../util/toml.ts';
import type { Capability, Headers, HostEntry } from './host-entry.ts';
import { type ClientCertificate, endpointTls, type EndpointTls } from '../http/tls.ts';

const fileName = 'hosts.toml';
const maxFileBytes = 1024 * 1024;
const maxHosts = 64;
const maxCertificates = 64;

const capabilities: ReadonlySet<string> = new Set<Capability>(['pull', 'resolve', 'push']);

type Table = Readonly<Record<string, unknown>>;

/**
 * The servers of a registry, in the order in which to ask them, from a directory like `/etc/containerd/certs.d/<host>`
 * (https://github.com/containerd/containerd/blob/main/docs/hosts.md): from its hosts.toml, or else from its
 * certificates (`*.crt`, `*.cert` with `*.key`), as Docker has them. `origin` is the registry's place if the file does
 * not name one. Throws FailedPrecondition that names the file and the key.
 */
export async function readHostDirectory(directory: string, origin: URL): Promise<HostEntry[]> {
  const path = join(directory, fileName);
  try {
    const text = await readText(path).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
      return undefined;
    });
    if (text === undefined) {
      return [
        { url: origin, headers: {}, tls: await certificatesIn(directory), capabilities: undefined, isNamed: false },
      ];
    }
    return await entriesOf(parseTomlText(text), directory, origin);
  } catch (error) {
    throw new LazypullError('FailedPrecondition', `Cannot use "${path}": ${messageOf(error)}`, { cause: error });
  }
}

async function entriesOf(file: Table, directory: string, origin: URL): Promise<HostEntry[]> {
  const hosts = tableAt(file, 'host');
  const names = Object.keys(hosts);
  if (names.length > maxHosts) throw new Error(`it has more than ${maxHosts} hosts`);
  const entries: HostEntry[] = [];
  for (const name of names) entries.push(await entryOf(tableAt(hosts, name), urlOf(name, 'host'), directory));
  const server = stringAt(file, 'server');
  const last = await entryOf(file, server === undefined ? origin : urlOf(server, 'server'), directory);
  if (!entries.some(({ url }) => url.href === last.url.href)) entries.push({ ...last, isNamed: server !== undefined });
  return entries;
}

async function entryOf(table: Table, server: URL, directory: string): Promise<HostEntry> {
  const url = new URL(server);
  const path = url.pathname.replace(/\/+$/, '');
  const isWhole = booleanAt(table, 'override_path') || path.endsWith('/v2');
  url.pathname = isWhole ? `${path}/` : `${path}/v2/`;
  const tls = endpointTls(
    await Promise.all((stringsAt(table, 'ca') ?? []).map((file) => readPem(directory, file))),
    await clientsAt(table, directory),
    booleanAt(table, 'skip_verify'),
  );
  if (tls !== undefined) checkTls(tls);
  const named = stringsAt(table, 'capabilities')?.filter((name) => capabilities.has(name)) as Capability[] | undefined;
  return {
    url,
    headers: headersAt(table),
    tls,
    capabilities: named === undefined ? undefined : new Set(named),
    isNamed: true,
  };
}

/** Throws if OpenSSL cannot use the content of the files. */
function checkTls({ authorities, clients }: EndpointTls): void {
  try {
    createSecureContext({ ca: [...authorities] });
    for (const { cert, key } of clients) createSecureContext({ cert, key });
  } catch (error) {
    throw new Error('"ca" or "client" is not what it should be', { cause: error });
  }
}

/** A name without a scheme is reached over https. */
function urlOf(text: string, key: string): URL {
  const full = /^[a-z]+:\/\//i.test(text) ? text : `https://${text}`;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  const isWeb = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (url === undefined || !isWeb || url.username !== '' || /[?#]/.test(full)) {
    throw new Error(`${key} ${JSON.stringify(text)} is not like "https://HOST:PORT/PATH"`);
  }
  return url;
}

/** `client` is a file with both, a list of such files, or a list of pairs `[certificate, key]`. */
async function clientsAt(table: Table, directory: string): Promise<ClientCertificate[]> {
  const value = table['client'];
  if (value === undefined) return [];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return Promise.all(
    list.map(async (item) => {
      const [cert, key = cert]: unknown[] = Array.isArray(item) ? item : [item];
      if (typeof cert !== 'string' || typeof key !== 'string') throw new Error('client: it must name files in PEM');
      return { cert: await readPem(directory, cert), key: await readPem(directory, key || cert) };
    }),
  );
}

/** The certificates of a directory without hosts.toml. */
async function certificatesIn(directory: string): Promise<EndpointTls | undefined> {
  const names = (await readdir(directory)).toSorted().slice(0, maxCertificates);
  const ending = (end: string): string[] => names.filter((name) => name.endsWith(end));
  return endpointTls(
    await Promise.all(ending('.crt').map((name) => readPem(directory, name))),
    await Promise.all(
      ending('.cert').map(async (name) => {
        const key = `${name.slice(0, -'.cert'.length)}.key`;
        return { cert: await readPem(directory, name), key: await readPem(directory, key) };
      }),
    ),
    false,
  );
}

async function readPem(directory: string, file: string): Promise<string> {
  const text = await readText(isAbsolute(file) ? file : join(directory, file));
  if (!text.includes('-----BEGIN ')) throw new Error(`"${file}" holds nothing in PEM`);
  return text;
}

async function readText(path: string): Promise<string> {
  return (await readGivenFile(path, maxFileBytes)).toString('utf8');
}

function tableAt(table: Table, key: string): Table {
  const value = table[key] ?? {};
  if (typeof value !== 'object' || Array.isArray(value)) throw new Error(`${key}: it must be a table`);
  return value as Table;
}

function stringAt(table: Table, key: string): string | undefined {
  const value = table[key];
  if (value !== undefined && typeof value !== 'string') throw new Error(`${key}: it must be a string`);
  return value === '' ? undefined : value;
}

function booleanAt(table: Table, key: string): boolean {
  const value = table[key] ?? false;
  if (typeof value !== 'boolean') throw new Error(`${key}: it must be true or false`);
  return value;
}

/** One string or a list of them. */
function stringsAt(table: Table, key: string): string[] | undefined {
  const value = table[key];
  if (value === undefined) return undefined;
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (!list.every((item) => typeof item === 'string') || list.length > maxCertificates)
    throw new Error(`${key}: it must be a string or a list of up to ${maxCertificates} strings`);
  return list;
}

function headersAt(table: Table): Headers {
  const headers = tableAt(table, 'header');
  return Object.fromEntries(Object.keys(headers).map((name) => [name, stringsAt(headers, name) ?? []]));
}
