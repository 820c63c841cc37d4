import { createHash, randomBytes } from 'node:crypto';
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What a test registry does; every field has a default. */
export interface RegistryOptions {
  /**
   * `token`: Docker's token flow, with `users` and anonymous readers if `anonymousPull`. `basic`: only `users`. None
   * by default.
   */
  auth?: 'none' | 'basic' | 'token';
  /** User names to passwords. A password is also taken as the identity token of that user. */
  users?: Record<string, string>;
  anonymousPull?: boolean;
  /** What the token server says of a token's life; a token is taken for as long, or until `revokeTokens()`. */
  tokenSeconds?: number;
  /**
   * Blob reads are redirected to a second origin ("storage"), with a signature in the query that `expireSignatures()`
   * ends.
   */
  redirect?: boolean;
  /** How `Range: bytes=-N` is treated: `serve` by default, `refuse` with 416, `ignore` with the whole blob. */
  suffixRanges?: 'serve' | 'refuse' | 'ignore';
  /**
   * How several ranges in one request are treated: `serve` as multipart/byteranges by default, `refuse` with 400,
   * `ignore` with the whole blob.
   */
  severalRanges?: 'serve' | 'refuse' | 'ignore';
  /** The list of what is attached to a manifest: entries of a page, and whether it can be filtered. None by default. */
  referrers?: { pageEntries: number; filters: boolean; annotates?: boolean };
  /** False: every range is ignored. */
  ranges?: boolean;
  /**
   * Serve https (HTTP/2 and 1.1) with this key and certificate; with `requestCert`, only to clients with a certificate
   * of `ca`.
   */
  tls?: { key: string; cert: string; ca?: string; requestCert?: boolean };
}

/** What goes wrong with one answer. Byte counts are of the answer's body. */
export type Fault =
  | { kind: 'status'; status: number; headers?: Record<string, string>; body?: string }
  /** 200 and the whole blob instead of 206. */
  | { kind: 'ignore-range' }
  | { kind: 'content-range'; value: string }
  /** Ends the body early, with the full Content-Length (`declared`) or with that of the short body. */
  | { kind: 'short'; bytes: number; declared?: boolean }
  /** A chunked body with `bytes` more than promised. */
  | { kind: 'long'; bytes: number }
  /** Sends `after` bytes and then nothing more; -1 for not even the head. */
  | { kind: 'stall'; after: number }
  /** Sends `after` bytes and resets the connection; -1 for not even the head. */
  | { kind: 'reset'; after: number }
  | { kind: 'drip'; bytes: number; everyMs: number }
  | { kind: 'corrupt' }
  | { kind: 'delay'; ms: number };

const ociIndexType = 'application/vnd.oci.image.index.v1+json';

/** Which requests: all conditions that are given. */
export interface Match {
  method?: string;
  path?: RegExp;
  on?: Origin;
  /** Of the header User-Agent. */
  agent?: RegExp;
}

export type Origin = 'registry' | 'storage' | 'token';

/** A request that the registry has seen. `bytes` counts the body sent so far. */
export interface SeenRequest {
  on: Origin;
  method: string;
  path: string;
  range: string | undefined;
  authorization: string | undefined;
  headers: IncomingMessage['headers'];
  status: number;
  bytes: number;
  httpVersion: string;
  /** Of the client's end of the connection. */
  port: number | undefined;
  /** The client ended the request before the answer was complete. */
  aborted: boolean;
}

/**
 * An OCI registry inside the test's process, over real sockets: manifests, blobs with ranges, uploads, token and basic
 * auth, redirects to a second origin, and faults on command. It counts requests and bytes.
 *
 *     await using registry = await startRegistry({ auth: 'token', users: { me: 'secret' } }); const digest =
 *     registry.addBlob(bytes);                       // in every repository registry.addManifest('app', 'latest',
 *     mediaType, json); registry.script({ path: /blobs/ }, { kind: 'reset', after: 1000 });   // for the next matching
 *     request only … client.blob(parseReference(`${registry.host}/app`), digest).tail(1000) …
 *     assert.equal(registry.requests.length, 3);
 */
export class TestRegistry implements AsyncDisposable {
  /** `127.0.0.1:<port>`. */
  host = '';
  storageHost = '';
  readonly requests: SeenRequest[] = [];
  /** By digest. */
  readonly blobs = new Map<string, Buffer>();
  /** By `repository:tag` and `repository@digest`. */
  readonly manifests = new Map<string, { mediaType: string; bytes: Buffer }>();
  readonly options: RegistryOptions;
  readonly #faults: { match: Match; fault: Fault }[] = [];
  readonly #tokens = new Map<string, { scopes: string[]; expiresAtMs: number }>();
  readonly #uploads = new Map<string, string>();
  readonly #servers: (Server | Http2SecureServer)[] = [];
  readonly #sockets = new Set<Socket>();
  #signature = randomBytes(8).toString('hex');
  /** Is told of each session of HTTP/2. */
  onSession: (session: ServerHttp2Session) => void = () => undefined;
  /** Every request waits for it before it is answered. */
  gate: () => Promise<void> = () => Promise.resolve();

  constructor(options: RegistryOptions) {
    this.options = options;
  }

  async listen(): Promise<this> {
    this.host = await this.#serve('registry', this.options.tls);
    this.storageHost = await this.#serve('storage', this.options.tls);
    return this;
  }

  /** Keeps a blob for every repository; gives its digest. */
  addBlob(bytes: Uint8Array): string {
    const digest = digestOf(bytes);
    this.blobs.set(digest, Buffer.from(bytes));
    return digest;
  }

  /** Keeps a manifest under its digest and, if given, a tag; gives its digest. */
  addManifest(repository: string, tag: string | undefined, mediaType: string, bytes: Uint8Array): string {
    const digest = digestOf(bytes);
    const manifest = { mediaType, bytes: Buffer.from(bytes) };
    this.manifests.set(`${repository}@${digest}`, manifest);
    if (tag !== undefined) this.manifests.set(`${repository}:${tag}`, manifest);
    return digest;
  }

  /** The next requests that match, one for each fault, go wrong in this order. */
  script(match: Match, ...faults: Fault[]): void {
    for (const fault of faults) this.#faults.push({ match, fault });
  }

  /** What was scripted and has not happened yet does not happen. */
  forgetFaults(): void {
    this.#faults.length = 0;
  }

  /** How many requests were seen that match. */
  count(match: Match = {}): number {
    return this.requests.filter((request) => matches(match, request)).length;
  }

  /** Bytes of bodies sent. */
  get bytes(): number {
    return this.requests.reduce((sum, request) => sum + request.bytes, 0);
  }

  /** Forgets what was seen. */
  resetCounts(): void {
    this.requests.length = 0;
  }

  /** Every token so far is refused from now on. */
  revokeTokens(): void {
    this.#tokens.clear();
  }

  /** Every redirect so far is answered with 403 from now on. */
  expireSignatures(): void {
    this.#signature = randomBytes(8).toString('hex');
  }

  /** What the death of its process does: connections break and new ones are refused, until `revive`. */
  async die(): Promise<void> {
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await Promise.all(closed);
  }

  /** Serves again, at the same addresses. */
  async revive(): Promise<void> {
    const ports = [this.host, this.storageHost].map((host) => Number(host.split(':')[1]));
    await Promise.all(
      this.#servers.map((server, i) => new Promise<void>((resolve) => server.listen(ports[i], '127.0.0.1', resolve))),
    );
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Resets the connection with the client's port `port`, below TLS. */
  #reset(port: number | undefined): void {
    for (const socket of this.#sockets) if (socket.remotePort === port) socket.resetAndDestroy();
  }

  get #scheme(): string {
    return this.options.tls ? 'https' : 'http';
  }

  async #serve(on: 'registry' | 'storage', tls: RegistryOptions['tls']): Promise<string> {
    const listener: RequestListener = (request, response) =>
      void this.#handle(on, request, response).catch(() => response.destroy());
    const server = tls
      ? createSecureServer({ ...tls, allowHTTP1: true }, listener as never)
      : createHttpServer({ keepAliveTimeout: 60_000 }, listener);
    this.#servers.push(server);
    if (tls)
      server.on('session', (session: ServerHttp2Session) =>
        session.once('remoteSettings', () => this.onSession(session)),
      );
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async #handle(origin: 'registry' | 'storage', request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://registry');
    const on = origin === 'registry' && url.pathname === '/token' ? 'token' : origin;
    const { range, authorization } = request.headers;
    const seen: SeenRequest = {
      on,
      method: request.method ?? '',
      path: url.pathname + url.search,
      range,
      authorization,
      headers: request.headers,
      status: 0,
      bytes: 0,
      httpVersion: request.httpVersion,
      port: request.socket.remotePort,
      aborted: false,
    };
    this.requests.push(seen);
    response.on('close', () => (seen.aborted = !response.writableFinished));
    await this.gate();
    const index = this.#faults.findIndex(({ match }) => matches(match, seen));
    const fault = index === -1 ? undefined : this.#faults.splice(index, 1)[0]?.fault;
    const exchange = new Exchange(request, response, seen, fault, () => this.#reset(seen.port));
    if (fault?.kind === 'delay') await sleep(fault.ms);
    if (fault?.kind === 'status')
      return exchange.send(fault.status, fault.headers ?? {}, Buffer.from(fault.body ?? ''));
    if (on === 'token') return this.#token(exchange, url);
    if (on === 'storage') return this.#storage(exchange, url);
    if (!this.#authorized(exchange, url)) return this.#challenge(exchange, url);
    return this.#registry(exchange, url);
  }

  async #registry(exchange: Exchange, url: URL): Promise<void> {
    const { method } = exchange.request;
    const manifest = /^\/v2\/(.+)\/manifests\/([^/]+)$/.exec(url.pathname);
    if (manifest) return this.#manifest(exchange, manifest[1]!, manifest[2]!);
    const referrers = /^\/v2\/(.+)\/referrers\/([^/]+)$/.exec(url.pathname);
    if (referrers && this.options.referrers) return this.#referrers(exchange, url, referrers[1]!, referrers[2]!);
    const upload = /^\/v2\/(.+)\/blobs\/uploads\/([^/]*)$/.exec(url.pathname);
    if (upload) return this.#upload(exchange, url, upload[1]!, upload[2]!);
    const blob = /^\/v2\/.+\/blobs\/([^/]+)$/.exec(url.pathname);
    if (blob && (method === 'GET' || method === 'HEAD')) {
      const bytes = this.blobs.get(blob[1]!);
      if (bytes === undefined) return exchange.error(404, 'BLOB_UNKNOWN', 'blob unknown to registry');
      if (!this.options.redirect) return this.#content(exchange, bytes);
      const location = `${this.#scheme}://${this.storageHost}/data/${blob[1]}?signature=${this.#signature}`;
      return exchange.send(307, { location }, Buffer.from('<a href="elsewhere">Temporary Redirect</a>'));
    }
    return url.pathname === '/v2/'
      ? exchange.send(200, {}, Buffer.from('{}'))
      : exchange.error(404, 'NAME_UNKNOWN', 'no such page');
  }

  #referrers(exchange: Exchange, url: URL, repository: string, subject: string): Promise<void> {
    const { pageEntries, filters, annotates = true } = this.options.referrers!;
    const type = filters ? url.searchParams.get('artifactType') : null;
    const all = [...this.manifests].flatMap(([name, { mediaType, bytes }]) => {
      const json = JSON.parse(bytes.toString()) as { subject?: { digest: string }; [key: string]: unknown };
      if (!name.startsWith(`${repository}@`) || json.subject?.digest !== subject) return [];
      const { artifactType, annotations } = json;
      const digest = name.slice(repository.length + 1);
      return type === null || type === artifactType
        ? [{ mediaType, digest, size: bytes.length, artifactType, ...(annotates ? { annotations } : {}) }]
        : [];
    });
    const start = Number(url.searchParams.get('last') ?? 0);
    const end = start + pageEntries;
    url.searchParams.set('last', String(end));
    const list = { schemaVersion: 2, mediaType: ociIndexType, manifests: all.slice(start, end) };
    const headers = {
      'content-type': ociIndexType,
      ...(type === null ? {} : { 'oci-filters-applied': 'artifactType' }),
      ...(end < all.length ? { link: `<${url.pathname}${url.search}>; rel="next"` } : {}),
    };
    return exchange.send(200, headers, Buffer.from(JSON.stringify(list)));
  }

  #storage(exchange: Exchange, url: URL): Promise<void> {
    if (url.searchParams.get('signature') !== this.#signature) {
      return exchange.send(
        403,
        { 'content-type': 'application/xml' },
        Buffer.from('<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>'),
      );
    }
    const bytes = this.blobs.get(url.pathname.slice('/data/'.length));
    return bytes === undefined ? exchange.send(404, {}, Buffer.alloc(0)) : this.#content(exchange, bytes);
  }

  #content(exchange: Exchange, bytes: Buffer): Promise<void> {
    const { range } = exchange.request.headers;
    if (range?.includes(',') && this.options.ranges !== false) return this.#several(exchange, bytes, range);
    const match = /^bytes=(\d*)-(\d*)$/.exec(range ?? '');
    const isSuffix = match?.[1] === '';
    const suffixes = this.options.suffixRanges ?? 'serve';
    const ignored =
      this.options.ranges === false || exchange.fault?.kind === 'ignore-range' || (isSuffix && suffixes === 'ignore');
    if (match === null || ignored) return exchange.send(200, { 'content-type': 'application/octet-stream' }, bytes);
    const start = isSuffix ? Math.max(bytes.length - Number(match[2]), 0) : Number(match[1]);
    const end = isSuffix || match[2] === '' ? bytes.length : Math.min(Number(match[2]) + 1, bytes.length);
    if (start >= end || (isSuffix && suffixes === 'refuse')) {
      return exchange.send(416, { 'content-range': `bytes */${bytes.length}` }, Buffer.alloc(0));
    }
    const contentRange =
      exchange.fault?.kind === 'content-range' ? exchange.fault.value : `bytes ${start}-${end - 1}/${bytes.length}`;
    return exchange.send(
      206,
      { 'content-range': contentRange, 'content-type': 'application/octet-stream' },
      bytes.subarray(start, end),
    );
  }

  #several(exchange: Exchange, bytes: Buffer, header: string): Promise<void> {
    const { severalRanges = 'serve' } = this.options;
    if (severalRanges === 'refuse') return exchange.error(400, 'UNSUPPORTED', 'one range at a time');
    if (severalRanges === 'ignore') return exchange.send(200, { 'content-type': 'application/octet-stream' }, bytes);
    const boundary = 'THIS_STRING_SEPARATES';
    const parts = [...header.matchAll(/(\d+)-(\d+)/g)].map(([, first, last]) => {
      const range = `bytes ${first}-${last}/${bytes.length}`;
      const head = `\r\n--${boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: ${range}\r\n\r\n`;
      return Buffer.concat([Buffer.from(head), bytes.subarray(Number(first), Number(last) + 1)]);
    });
    const body = Buffer.concat([...parts, Buffer.from(`\r\n--${boundary}--\r\n`)]);
    return exchange.send(206, { 'content-type': `multipart/byteranges; boundary=${boundary}` }, body);
  }

  async #manifest(exchange: Exchange, repository: string, reference: string): Promise<void> {
    const isDigest = reference.includes(':');
    if (exchange.request.method === 'PUT') {
      const bytes = await exchange.readBody();
      const digest = this.addManifest(
        repository,
        isDigest ? undefined : reference,
        exchange.request.headers['content-type'] ?? '',
        bytes,
      );
      if (isDigest && reference !== digest)
        return exchange.error(400, 'DIGEST_INVALID', 'provided digest did not match uploaded content');
      return exchange.send(
        201,
        { location: `/v2/${repository}/manifests/${digest}`, 'docker-content-digest': digest },
        Buffer.alloc(0),
      );
    }
    const manifest = this.manifests.get(repository + (isDigest ? '@' : ':') + reference);
    if (manifest === undefined) return exchange.error(404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    const headers = { 'content-type': manifest.mediaType, 'docker-content-digest': digestOf(manifest.bytes) };
    return exchange.send(200, headers, manifest.bytes);
  }

  async #upload(exchange: Exchange, url: URL, repository: string, id: string): Promise<void> {
    const { method } = exchange.request;
    if (method === 'POST') {
      const mount = url.searchParams.get('mount');
      if (mount !== null && this.blobs.has(mount))
        return exchange.send(201, { location: `/v2/${repository}/blobs/${mount}` }, Buffer.alloc(0));
      const session = randomBytes(8).toString('hex');
      this.#uploads.set(session, repository);
      return exchange.send(202, { location: `/v2/${repository}/blobs/uploads/${session}?_state=x` }, Buffer.alloc(0));
    }
    const bytes = await exchange.readBody();
    if (method !== 'PUT' || this.#uploads.get(id) !== repository)
      return exchange.error(404, 'BLOB_UPLOAD_UNKNOWN', 'blob upload unknown');
    if (url.searchParams.get('digest') !== digestOf(bytes))
      return exchange.error(400, 'DIGEST_INVALID', 'digest mismatch');
    this.#uploads.delete(id);
    this.addBlob(bytes);
    return exchange.send(201, { location: `/v2/${repository}/blobs/${digestOf(bytes)}` }, Buffer.alloc(0));
  }

  #authorized(exchange: Exchange, url: URL): boolean {
    const { authorization = '' } = exchange.request.headers;
    const { auth = 'none' } = this.options;
    if (auth === 'none') return true;
    if (auth === 'basic') return this.#userOf(authorization) !== undefined;
    const token = this.#tokens.get(authorization.replace(/^Bearer /, ''));
    return (
      token !== undefined && token.expiresAtMs > Date.now() && token.scopes.includes(neededScope(exchange.request, url))
    );
  }

  #challenge(exchange: Exchange, url: URL): Promise<void> {
    const challenge =
      this.options.auth === 'basic'
        ? 'Basic realm="test registry"'
        : `Bearer realm="${this.#scheme}://${this.host}/token",service="test registry",scope="${neededScope(exchange.request, url)}"`;
    return exchange.error(401, 'UNAUTHORIZED', 'authentication required', { 'www-authenticate': challenge });
  }

  async #token(exchange: Exchange, url: URL): Promise<void> {
    const form =
      exchange.request.method === 'POST'
        ? new URLSearchParams((await exchange.readBody()).toString())
        : url.searchParams;
    const { authorization } = exchange.request.headers;
    const byToken = Object.entries(this.options.users ?? {}).find(
      ([, secret]) => secret === form.get('refresh_token'),
    )?.[0];
    const user = exchange.request.method === 'POST' ? byToken : authorization && this.#userOf(authorization);
    const refused = (authorization || exchange.request.method === 'POST') && user === undefined;
    if (refused || (user === undefined && !this.options.anonymousPull))
      return exchange.error(401, 'UNAUTHORIZED', 'incorrect username or password');
    const token = randomBytes(16).toString('hex');
    const scopes = form
      .getAll('scope')
      .flatMap((scope) => scope.split(' '))
      .flatMap(actionsOf);
    const seconds = this.options.tokenSeconds ?? 300;
    const granted = user === undefined ? scopes.filter((scope) => scope.endsWith(':pull')) : scopes;
    this.#tokens.set(token, { scopes: granted, expiresAtMs: Date.now() + seconds * 1000 });
    const answer =
      exchange.request.method === 'POST'
        ? { access_token: token, expires_in: seconds }
        : { token, expires_in: seconds };
    return exchange.send(200, { 'content-type': 'application/json' }, Buffer.from(JSON.stringify(answer)));
  }

  #userOf(authorization: string): string | undefined {
    const [user = '', ...password] = Buffer.from(authorization.replace(/^Basic /, ''), 'base64')
      .toString()
      .split(':');
    return this.options.users?.[user] === password.join(':') ? user : undefined;
  }
}

/** Starts a registry on a free port of 127.0.0.1. */
export function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  return new TestRegistry(options).listen();
}

/** `sha256:<hex>` of the bytes. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** One request with its answer, and the fault that the answer is to have. */
class Exchange {
  readonly request: IncomingMessage;
  readonly fault: Fault | undefined;
  readonly #response: ServerResponse;
  readonly #seen: SeenRequest;
  readonly #reset: () => void;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    seen: SeenRequest,
    fault: Fault | undefined,
    reset: () => void,
  ) {
    this.#reset = reset;
    this.request = request;
    this.fault = fault;
    this.#response = response;
    this.#seen = seen;
  }

  async readBody(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.request) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  }

  error(status: number, code: string, message: string, headers: Record<string, string> = {}): Promise<void> {
    const body = JSON.stringify({ errors: [{ code, message }] });
    return this.send(status, { 'content-type': 'application/json', ...headers }, Buffer.from(body));
  }

  async send(status: number, headers: Record<string, string>, body: Buffer): Promise<void> {
    const { fault } = this;
    const response = this.#response;
    this.#seen.status = status;
    if ((fault?.kind === 'stall' || fault?.kind === 'reset') && fault.after < 0) return this.#stop(fault.kind);
    const sent = this.#faulty(body);
    const isChunked = fault?.kind === 'long';
    const length = fault?.kind === 'short' && !fault.declared ? sent.length : body.length;
    response.writeHead(status, { ...headers, ...(isChunked ? {} : { 'content-length': String(length) }) });
    if (this.request.method === 'HEAD') return void response.end();
    if (fault?.kind === 'drip') {
      for (let at = 0; at < sent.length && !response.destroyed; at += fault.bytes) {
        await this.#write(sent.subarray(at, at + fault.bytes));
        await sleep(fault.everyMs);
      }
      return void response.end();
    }
    await this.#write(sent);
    if (fault?.kind === 'stall' || fault?.kind === 'reset') return this.#stop(fault.kind);
    if (fault?.kind === 'short' && fault.declared) return this.#stop('reset');
    response.end();
  }

  #faulty(body: Buffer): Buffer {
    const { fault } = this;
    if (fault?.kind === 'short') return body.subarray(0, fault.bytes);
    if (fault?.kind === 'stall' || fault?.kind === 'reset') return body.subarray(0, fault.after);
    if (fault?.kind === 'long') return Buffer.concat([body, Buffer.alloc(fault.bytes, 0x2a)]);
    if (fault?.kind === 'corrupt') return Buffer.from(body.map((byte, index) => (index % 7 === 0 ? byte ^ 1 : byte)));
    return body;
  }

  /** Waits until the bytes have left, so that `bytes` and a reset mean what they say. */
  async #write(bytes: Buffer): Promise<void> {
    const piece = 64 * 1024;
    for (let at = 0; at < bytes.length && !this.#response.destroyed; at += piece) {
      const part = bytes.subarray(at, at + piece);
      await new Promise<void>((resolve) => {
        this.#response.once('close', resolve);
        this.#response.write(part, () => {
          this.#response.off('close', resolve);
          resolve();
        });
      });
      this.#seen.bytes += part.length;
    }
  }

  #stop(kind: 'stall' | 'reset'): void {
    if (kind === 'reset') setTimeout(this.#reset, 20);
  }
}

function matches(match: Match, seen: SeenRequest): boolean {
  return (
    (match.method === undefined || match.method === seen.method) &&
    (match.on === undefined || match.on === seen.on) &&
    (match.agent === undefined || match.agent.test(seen.headers['user-agent'] ?? '')) &&
    (match.path === undefined || match.path.test(seen.path))
  );
}

function neededScope(request: IncomingMessage, url: URL): string {
  const repository = /^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(url.pathname)?.[1];
  return `repository:${repository}:${request.method === 'GET' || request.method === 'HEAD' ? 'pull' : 'push'}`;
}

function actionsOf(scope: string): string[] {
  const colon = scope.lastIndexOf(':');
  return scope
    .slice(colon + 1)
    .split(',')
    .map((action) => `${scope.slice(0, colon)}:${action}`);
}
