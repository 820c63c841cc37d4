/**
 * A registry that passes on what other registries have, and keeps the bytes: for clients of this machine, and for the
 * daemon itself. It treats blobs as bytes, and knows no layers.
 *
 * Begin with the server in this file for the HTTP side, and with `blob-store.ts` for storage. `shared-blob.ts` decides
 * which reader fetches which range, `blob-file.ts` is a sparse file with a record of its content.
 */

import { createHash, type Hash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { isIP, type Socket } from 'node:net';
import type { ListenAddress } from '../config/listen-address.ts';
import { codeOf, type ErrorCode, LazypullError, explain } from '../errors.ts';
import type { Log } from '../log.ts';
import { isLoopback, zoneOf } from '../registry/hosts/addresses.ts';
import type { ManifestHead, RegistryClient } from '../registry/client.ts';
import type { Reference } from '../registry/reference.ts';
import { type ListeningServer, listen } from '../util/http-server.ts';
import { Admission, Served } from './admission.ts';
import type { BlobStore } from './blob-store.ts';
import { askedRange } from './byte-range.ts';
import { ManifestCache } from './manifest-cache.ts';
import type { MirrorMetrics } from './metrics.ts';
import { parseMirrorRequest } from './request.ts';
import type { Piece } from './shared-blob.ts';

/** A further connection is refused if no other gives way; its client then asks the registry itself. */
const maxConnections = 512;
const maxRequests = 128;

/** Requests that a client may send on a connection before it has the answers. */
const maxPipelined = 4;
const maxHeaderBytes = 16 << 10;
const maxAcceptLength = 4096;

/**
 * Time limits: for a request to arrive, an idle connection, a client that accepts no bytes, and the registry's first
 * answer.
 */
const requestMs = 10_000;
const idleMs = 60_000;
const stalledMs = 60_000;
const lookMs = 5_000;
const answerMs = 30_000;

export interface MirrorOptions {
  readonly address: ListenAddress;
  readonly registry: RegistryClient;
  readonly store: BlobStore;
  readonly metrics: MirrorMetrics;
  readonly log: Log;
}

/**
 * Serves the reading half of the distribution specification for all registries. Blobs come from what this node has, and
 * missing parts from the registry, and are kept. Manifests come from the registry. On errors the answer makes clients
 * ask the registry itself.
 *
 * @throws FailedPrecondition with what to do if it cannot listen at the address
 */
export async function serveMirror(options: MirrorOptions): Promise<ListeningServer> {
  const { host, port } = options.address;
  const handler = new Handler(options);
  const server = createServer(
    {
      maxHeaderSize: maxHeaderBytes,
      requestTimeout: requestMs,
      headersTimeout: requestMs,
      keepAliveTimeout: idleMs,
      connectionsCheckingInterval: lookMs,
    },
    (request, response) => void handler.handle(request, response),
  );
  const problem = `Cannot serve the mirror at "${host}:${port}": choose another --mirror-address`;
  return listen(server, options.address, problem, maxConnections);
}

/** An answer with a status that no error class stands for. */
class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

class Handler {
  readonly #options: MirrorOptions;
  readonly #manifests = new ManifestCache();
  readonly #admission = new Admission(maxRequests);
  readonly #outstanding = new WeakMap<Socket, number>();

  constructor(options: MirrorOptions) {
    this.#options = options;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { metrics, log } = this.#options;
    metrics.begin();
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    response.on('error', () => {});
    const served = new Served(response);
    try {
      this.#admit(request, served);
      response.once('close', () => this.#leave(request, served));
      await this.#answer(request, response, served, gone.signal);
      await taken(response, gone.signal);
    } catch (error) {
      if (gone.signal.aborted) return;
      log.debug({ url: request.url?.slice(0, 300), error: explain(error) }, 'the mirror could not serve a request');
      if (response.headersSent) response.destroy();
      else refuse(request, response, error);
    } finally {
      const status = `${Math.floor(response.statusCode / 100)}xx`;
      if (status === '2xx' || status === '4xx' || status === '5xx') metrics.requests.add(1, { status });
    }
  }

  /** Throws Refused if the request must not be served, whatever its target is. */
  #admit({ method, headers, headersDistinct, socket }: IncomingMessage, served: Served): void {
    const { address } = this.#options;
    if (method !== 'GET' && method !== 'HEAD') throw new Refused(405, 'Only GET and HEAD are possible');
    // Programs between us and the client may take one of these in another way than Node does (RFC 9112, 3.2 and 6.1).
    if (headers['transfer-encoding'] !== undefined || headersDistinct.host?.length !== 1) {
      throw new Refused(400, 'The request must have one Host and no Transfer-Encoding');
    }
    // Browsers tell which page asks. Programs do not, but Node's fetch() sends Sec-Fetch-Mode.
    const mark = ['origin', 'sec-fetch-site'].find((name) => headers[name] !== undefined);
    if (mark !== undefined) throw new Refused(403, `The mirror serves no browser: the request has "${mark}"`);
    // A page reaches this port under a name of its own, even in a browser that tells nothing.
    const name = (headers.host ?? '')
      .toLowerCase()
      .replace(/:\d*$/, '')
      .replace(/^\[(.*)\]$/, '$1');
    if (isIP(name) === 0 && name !== 'localhost' && name !== address.host) {
      throw new Refused(421, `"${name.slice(0, 100)}" is not the name of this mirror`);
    }
    // Two daemons whose hosts.toml name each other's mirror would ask each other for ever.
    if (headers['user-agent']?.startsWith('lazypull/')) throw new Refused(508, 'The mirror does not serve lazypull');
    const outstanding = this.#outstanding.get(socket) ?? 0;
    if (outstanding >= maxPipelined || !this.#admission.admit(served)) {
      throw new Refused(503, 'The mirror is busy: ask the registry');
    }
    this.#outstanding.set(socket, outstanding + 1);
  }

  #leave({ socket }: IncomingMessage, served: Served): void {
    this.#admission.leave(served);
    this.#outstanding.set(socket, (this.#outstanding.get(socket) ?? 1) - 1);
  }

  async #answer(request: IncomingMessage, response: ServerResponse, served: Served, gone: AbortSignal): Promise<void> {
    const asked = parseMirrorRequest(request.url ?? '');
    if (asked.kind === 'version') {
      send(request, response, 200, { 'content-type': 'application/json' }, Buffer.from('{}'));
      return;
    }
    this.#checkRegistry(asked.reference);
    if (asked.kind === 'manifest') await this.#sendManifest(request, response, asked.reference, gone);
    else await this.#sendBlob(request, response, asked, served, gone);
  }

  /** A client from elsewhere must not use this port to reach what listens only on this machine. */
  #checkRegistry({ host }: Reference): void {
    const { hostname } = new URL(`http://${host}`);
    if (isLoopback(this.#options.address.host) || zoneOf(hostname) === 'anywhere') return;
    throw new LazypullError('PermissionDenied', `Refused to ask "${host}": it is this machine`);
  }

  async #sendManifest(
    request: IncomingMessage,
    response: ServerResponse,
    reference: Reference,
    gone: AbortSignal,
  ): Promise<void> {
    const { registry } = this.#options;
    const accept = (request.headers.accept ?? '').slice(0, maxAcceptLength + 1);
    if (accept.length > maxAcceptLength) throw new LazypullError('InvalidArgument', 'The header Accept is too long');
    const types = accept === '' ? undefined : [accept];
    const signal = AbortSignal.any([gone, AbortSignal.timeout(answerMs)]);
    const known = reference.digest === undefined ? undefined : this.#manifests.get(reference.digest);
    if (known === undefined && request.method === 'HEAD') {
      const head = await registry.manifestHead(reference, types, signal, 'stranger');
      if (head !== undefined) {
        response.writeHead(200, manifestHeaders(head)).end();
        return;
      }
    }
    const manifest = known ?? (await registry.manifest(reference, types, signal, 'stranger'));
    this.#manifests.add(manifest);
    send(request, response, 200, manifestHeaders({ ...manifest, size: manifest.bytes.length }), manifest.bytes);
  }

  async #sendBlob(
    request: IncomingMessage,
    response: ServerResponse,
    { reference, digest }: { reference: Reference; digest: string },
    served: Served,
    gone: AbortSignal,
  ): Promise<void> {
    const { registry, store } = this.#options;
    using lease = await store.lease(digest);
    if (lease === undefined)
      throw new LazypullError('Unavailable', 'The mirror cannot keep the blob: ask the registry');
    const { blob } = lease;
    const upstream = registry.blob(reference, digest, 'stranger');
    const startedMs = performance.now();
    const size = await blob.size(upstream, AbortSignal.any([gone, AbortSignal.timeout(answerMs)]));
    const headers = {
      'content-type': 'application/octet-stream',
      'docker-content-digest': digest,
      'accept-ranges': 'bytes',
    };
    const range = askedRange(request.headers.range, size);
    if (range === undefined) {
      send(request, response, 416, { ...headers, 'content-range': `bytes */${size}` }, Buffer.alloc(0));
      return;
    }
    const { start, end, isPart } = range;
    const isWhole = start === 0 && end === size;
    if (!isWhole && !(await blob.isSound()))
      throw new LazypullError('Unavailable', 'What the mirror had kept was wrong: ask again');
    const part = isPart ? { 'content-range': `bytes ${start}-${end - 1}/${size}` } : {};
    response.writeHead(isPart ? 206 : 200, { ...headers, ...part, 'content-length': end - start });
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    const whole = isWhole ? createHash('sha256') : undefined;
    const last = await this.#stream(response, blob.read(upstream, start, end, gone), whole, served, gone);
    // The last bytes are held back, so that no client takes a blob that is known to be wrong for a complete one.
    if (whole !== undefined && `sha256:${whole.digest('hex')}` !== digest) blob.drop();
    else if (whole !== undefined || end < size || (await blob.isSound())) {
      response.end(last);
      served.give(last.length, true);
      return;
    }
    await upstream.distrust(startedMs);
    throw new LazypullError('DataLoss', `The blob "${digest}" does not match its digest`);
  }

  /** Sends the bytes as the client takes them, except for the last ones, which it returns. */
  async #stream(
    response: ServerResponse,
    pieces: AsyncIterable<Piece>,
    whole: Hash | undefined,
    served: Served,
    gone: AbortSignal,
  ): Promise<Buffer> {
    let held: Buffer = Buffer.alloc(0);
    for await (const { data, from } of pieces) {
      gone.throwIfAborted();
      this.#options.metrics.sentBytes.add(data.length, { from });
      whole?.update(data);
      const isFull = held.length > 0 && !response.write(held);
      served.give(held.length, isFull);
      if (isFull) await once(response, 'drain', { signal: AbortSignal.any([gone, AbortSignal.timeout(stalledMs)]) });
      served.taken();
      held = data;
    }
    return held;
  }
}

/** Waits until the client has the end of its answer. If it does not take it, its connection is ended. */
async function taken(response: ServerResponse, gone: AbortSignal): Promise<void> {
  if (response.writableFinished) return;
  try {
    await once(response, 'finish', { signal: AbortSignal.any([gone, AbortSignal.timeout(stalledMs)]) });
  } catch {
    response.destroy();
  }
}

function manifestHeaders({ mediaType, digest, size }: ManifestHead): Record<string, string | number> {
  return { 'content-type': mediaType, 'content-length': size, 'docker-content-digest': digest };
}

function send(
  { method }: IncomingMessage,
  response: ServerResponse,
  status: number,
  headers: Record<string, string | number>,
  body: Buffer,
): void {
  response.writeHead(status, { 'content-length': body.length, ...headers });
  response.end(method === 'HEAD' ? undefined : body);
}

/**
 * Statuses by class. A registry that refuses this node may accept the client. So the client is told that nothing is
 * here, and asks itself.
 */
const statuses: Partial<Record<ErrorCode, number>> = {
  InvalidArgument: 400,
  Unauthenticated: 404,
  PermissionDenied: 404,
  NotFound: 404,
  DeadlineExceeded: 504,
  Unavailable: 503,
};

/** An error in the form of the distribution specification. */
function refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  const status = error instanceof Refused ? error.status : (statuses[codeOf(error)] ?? 502);
  const code = status === 404 ? 'NAME_UNKNOWN' : status === 405 ? 'UNSUPPORTED' : 'UNKNOWN';
  const body = Buffer.from(JSON.stringify({ errors: [{ code, message: explain(error) }] }));
  const more =
    status === 405 ? { allow: 'GET, HEAD', connection: 'close' } : status === 400 ? { connection: 'close' } : {};
  send(request, response, status, { 'content-type': 'application/json', ...more }, body);
}
