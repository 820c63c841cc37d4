import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { Log } from '../log.ts';
import { discard } from './body.ts';
import { type Asked, nameOf, RegistryError } from './errors.ts';
import type { Endpoint, Hosts } from './hosts.ts';
import { defaultTag, type Reference } from './reference.ts';
import { headerOf } from './refusal.ts';
import type { Requester } from './requester.ts';
import { type RetryPolicy, retrying, Tries } from './retry.ts';
import { pullScope, pushScope } from './scopes.ts';
import type { Answer } from './transport.ts';

/** How long an upload may stand still, and how long a registry may take to store a blob after its last byte. */
const stalledUploadMs = 60_000;
const storingMs = 300_000;

/** The longest that a timer of Node can wait: 24 days. */
const maxTimerMs = 2 ** 31 - 1;

/** The side of the distribution protocol that writes (distribution spec, "Push"). Goes to the origin, never to a mirror. */
export class Pusher {
  readonly #requester: Requester;
  readonly #hosts: Hosts;
  readonly #policy: RetryPolicy;
  readonly #log: Log;

  constructor(requester: Requester, hosts: Hosts, policy: RetryPolicy, log: Log) {
    this.#requester = requester;
    this.#hosts = hosts;
    this.#policy = policy;
    this.#log = log;
  }

  async blobExists(reference: Reference, digest: string, signal?: AbortSignal): Promise<boolean> {
    const endpoint = await this.#hosts.origin(reference.host);
    const url = new URL(`${endpoint.base}${reference.repository}/blobs/${digest}`);
    const scope = pullScope(reference.repository);
    return retrying(this.#tries(signal), async () => {
      const answer = await this.#requester.send(endpoint, { method: 'HEAD', url, scope, signal });
      if (answer.status !== 200 && answer.status !== 404) throw await this.#requester.refuse(endpoint, scope, answer);
      discard(answer);
      return answer.status === 200;
    });
  }

  async pushBlob(
    reference: Reference,
    blob: { digest: string; size: number },
    content: Uint8Array | (() => Readable),
    from: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const endpoint = await this.#hosts.origin(reference.host);
    const scope = pushScope(reference.repository, from);
    await retrying(this.#tries(signal, blob.size), async () => {
      const upload = await this.#startUpload(endpoint, reference, scope, blob.digest, from, signal);
      if (upload === undefined) return;
      upload.searchParams.set('digest', blob.digest);
      await this.#put(endpoint, upload, scope, blob.size, content, signal);
    });
  }

  async pushManifest(
    reference: Reference,
    mediaType: string,
    bytes: Uint8Array,
    signal?: AbortSignal,
  ): Promise<string> {
    const endpoint = await this.#hosts.origin(reference.host);
    const url = new URL(
      `${endpoint.base}${reference.repository}/manifests/${reference.digest ?? reference.tag ?? defaultTag}`,
    );
    const scope = pushScope(reference.repository);
    const headers = { 'content-type': mediaType };
    return retrying(this.#tries(signal, bytes.length), async () => {
      const answer = await this.#requester.send(endpoint, { method: 'PUT', url, scope, headers, body: bytes, signal });
      if (answer.status !== 201) throw await this.#requester.refuse(endpoint, scope, answer);
      discard(answer);
      return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    });
  }

  /** Where to send the blob; undefined where the registry mounted it from `from`. */
  async #startUpload(
    endpoint: Endpoint,
    reference: Reference,
    scope: string,
    digest: string,
    from: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<URL | undefined> {
    const url = new URL(`${endpoint.base}${reference.repository}/blobs/uploads/`);
    if (from !== undefined && from !== reference.repository) {
      url.searchParams.set('mount', digest);
      url.searchParams.set('from', from);
    }
    const headers = { 'content-length': '0' };
    const answer = await this.#requester.send(endpoint, { method: 'POST', url, scope, headers, signal });
    if (answer.status !== 201 && answer.status !== 202) throw await this.#requester.refuse(endpoint, scope, answer);
    discard(answer);
    return answer.status === 201 ? undefined : this.#uploadUrl(endpoint, answer);
  }

  /** A registry behind a TLS proxy often names itself in plain HTTP: it means the scheme by which it was reached. */
  #uploadUrl(endpoint: Endpoint, answer: Answer): URL {
    const location = headerOf(answer, 'location');
    const plain =
      location !== undefined && URL.canParse(location, answer.url.href) ? new URL(location, answer.url) : undefined;
    if (plain?.hostname === answer.url.hostname && plain.protocol === 'http:') plain.protocol = answer.url.protocol;
    return this.#requester.elsewhere(endpoint, answer, plain?.href ?? location);
  }

  async #put(
    endpoint: Endpoint,
    url: URL,
    scope: string,
    size: number,
    content: Uint8Array | (() => Readable),
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const totalMs = stalledUploadMs + storingMs + (size / this.#policy.minBytesPerSecond) * 1000;
    await using watch = new UploadWatch({ method: 'PUT', url }, totalMs, signal);
    const stream = (): Readable => watch.over(typeof content === 'function' ? content() : Readable.from([content]));
    const headers = { 'content-type': 'application/octet-stream', 'content-length': String(size) };
    const answer = await watch.explaining(
      this.#requester.send(endpoint, {
        method: 'PUT',
        url,
        scope,
        headers,
        stream,
        headersMs: 0,
        signal: watch.signal,
      }),
    );
    if (answer.status !== 201) throw await this.#requester.refuse(endpoint, scope, answer);
    discard(answer);
  }

  #tries(signal: AbortSignal | undefined, bytes = 0): Tries {
    return new Tries(this.#policy, this.#log, signal, bytes);
  }
}

/** Ends an upload that stands still, or takes longer than its bytes are worth: the time-outs of the connection know only answers. */
class UploadWatch implements AsyncDisposable {
  readonly #asked: Asked;
  readonly #stalled = new AbortController();
  readonly #streams: Readable[] = [];
  readonly #caller: AbortSignal | undefined;
  readonly #total: NodeJS.Timeout;
  #timer: NodeJS.Timeout;
  readonly signal: AbortSignal;

  constructor(asked: Asked, totalMs: number, caller: AbortSignal | undefined) {
    this.#asked = asked;
    this.#caller = caller;
    this.#timer = this.#arm(stalledUploadMs);
    this.#total = this.#arm(Math.min(totalMs, maxTimerMs));
    this.signal = caller === undefined ? this.#stalled.signal : AbortSignal.any([this.#stalled.signal, caller]);
  }

  over(source: Readable): Readable {
    const arm = (ms: number): void => {
      clearTimeout(this.#timer);
      this.#timer = this.#arm(ms);
    };
    async function* watched(): AsyncGenerator<Uint8Array> {
      for await (const chunk of source as AsyncIterable<Uint8Array>) {
        arm(stalledUploadMs);
        yield chunk;
      }
      arm(storingMs);
    }
    const stream = Readable.from(watched(), { objectMode: false });
    this.#streams.push(source, stream);
    return stream;
  }

  /** Turns the abort by this watch into an error that may be retried. */
  async explaining(sending: Promise<Answer>): Promise<Answer> {
    try {
      return await sending;
    } catch (error) {
      if (!this.#stalled.signal.aborted || this.#caller?.aborted) throw error;
      throw new RegistryError('Unavailable', `Cannot ${nameOf(this.#asked)}: the upload stood still`, {
        retryable: true,
        cause: error,
      });
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    clearTimeout(this.#total);
    for (const stream of this.#streams) stream.destroy();
    return Promise.resolve();
  }

  #arm(ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#stalled.abort(), ms);
  }
}
