import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { Log } from '../../log.ts';
import { messageOf } from '../../errors.ts';
import { collect, discard } from '../http/body.ts';
import { type Asked, nameOf, RegistryError } from '../errors.ts';
import type { Endpoint, Hosts } from '../hosts/hosts.ts';
import { defaultTag, type Reference } from '../reference.ts';
import { headerOf, refusal } from '../refused-answer.ts';
import type { Requester } from '../http/requester.ts';
import { type RetryPolicy, retrying, Tries } from '../http/retry.ts';
import { pushScope } from '../auth/scopes.ts';
import type { Answer } from '../http/transport.ts';

/** How long an upload may make no progress, and how long a registry may take to store a blob after its last byte. */
const stalledUploadMs = 60_000;
const storingMs = 300_000;

/** The longest that a timer of Node can wait: 24 days. */
const maxTimerMs = 2 ** 31 - 1;

/** Statuses of acceptance: the specification has 201 and 202, and registries use others too. */
const acceptedStatuses = new Set([200, 201, 202, 204]);

/**
 * A blob is pushed after these answers to the question for it. If the push is not allowed either, its answer says why.
 */
const unknownStatuses = new Set([401, 403, 404, 405]);

/** Answers to HEAD of servers that know only GET. */
const withoutHead = new Set([405, 501]);

/** A longer manifest is not read to compare it with the one to push. */
const maxComparedBytes = 4 * 1024 * 1024;

/** The writing side of the distribution protocol (distribution spec, "Push"). It uses the origin, never a mirror. */
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

  /**
   * Asks with the scope of the push that follows. Some registries let no client read a repository that does not exist
   * yet, and all need one token less.
   */
  async blobExists(reference: Reference, digest: string, signal?: AbortSignal): Promise<boolean> {
    const endpoint = await this.#hosts.origin(reference.host);
    const url = new URL(`${endpoint.base}${reference.repository}/blobs/${digest}`);
    const scope = pushScope(reference.repository);
    return retrying(this.#tries(signal), async () => {
      const answer = await this.#requester.send(endpoint, { method: 'HEAD', url, scope, signal });
      if (answer.status !== 200 && !unknownStatuses.has(answer.status))
        throw await this.#requester.refuse(endpoint, scope, answer);
      discard(answer);
      return answer.status === 200;
    });
  }

  /** Begins an upload and gives it up. Throws what says why a push would fail. */
  async tryPush(reference: Reference, signal?: AbortSignal): Promise<void> {
    const endpoint = await this.#hosts.origin(reference.host);
    const scope = pushScope(reference.repository);
    const url = new URL(`${endpoint.base}${reference.repository}/blobs/uploads/`);
    const upload = await retrying(this.#tries(signal), async () => {
      const answer = await this.#post(endpoint, url, scope, signal);
      if (!acceptedStatuses.has(answer.status)) throw await this.#requester.refuse(endpoint, scope, answer);
      discard(answer);
      return this.#uploadUrl(answer);
    });
    // Registries forget uploads that are never ended, so a failure does not matter.
    const ending = this.#requester.send(endpoint, { method: 'DELETE', url: upload, scope, signal });
    await ending.then(discard, () => undefined);
  }

  async pushBlob(
    reference: Reference,
    blob: { digest: string; size: number },
    content: Uint8Array | (() => Readable),
    from: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const endpoint = await this.#hosts.origin(reference.host);
    const scope = pushScope(reference.repository);
    await retrying(this.#tries(signal, blob.size), async () => {
      const upload = await this.#startUpload(endpoint, reference, scope, blob.digest, from, signal);
      if (upload === undefined) return;
      // The existing query stays as it is: it may be signed.
      upload.search += `${upload.search === '' ? '?' : '&'}digest=${encodeURIComponent(blob.digest)}`;
      await this.#put(endpoint, upload, scope, blob.size, content, signal);
    });
  }

  /**
   * A manifest that is already there is not sent again, so that the same push succeeds twice even if tags are
   * immutable.
   */
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
    const digest = sha256(bytes);
    const tries = this.#tries(signal, bytes.length);
    return retrying(tries, async () => {
      if (await this.#isThere(endpoint, url, scope, mediaType, digest, tries, signal)) return digest;
      const answer = await this.#requester.send(endpoint, { method: 'PUT', url, scope, headers, body: bytes, signal });
      if (!acceptedStatuses.has(answer.status)) throw await this.#requester.refuse(endpoint, scope, answer);
      discard(answer);
      return digest;
    });
  }

  /** Whether a URL has the manifest with this digest. If that is unknown, the push goes on. */
  async #isThere(
    endpoint: Endpoint,
    url: URL,
    scope: string,
    mediaType: string,
    digest: string,
    tries: Tries,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const headers = { accept: `${mediaType}, */*` };
    try {
      const head = await this.#requester.send(endpoint, { method: 'HEAD', url, scope, headers, signal });
      discard(head);
      if (head.status !== 200 && !withoutHead.has(head.status)) return false;
      const told = head.status === 200 ? headerOf(head, 'docker-content-digest') : undefined;
      if (told?.startsWith('sha256:')) return told === digest;
      const answer = await this.#requester.send(endpoint, { method: 'GET', url, scope, headers, signal });
      if (answer.status === 200) {
        return sha256(await collect(answer, maxComparedBytes, tries, { requests: 0, bytes: 0 })) === digest;
      }
      discard(answer);
    } catch (error) {
      if (signal?.aborted) throw error;
      this.#log.debug({ url: url.href, error: messageOf(error) }, 'cannot tell whether a manifest is there');
    }
    return false;
  }

  /** Where to send the blob; undefined if the registry has it now, because it mounted it from `from`. */
  async #startUpload(
    endpoint: Endpoint,
    reference: Reference,
    scope: string,
    digest: string,
    from: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<URL | undefined> {
    const uploads = `${endpoint.base}${reference.repository}/blobs/uploads/`;
    if (from !== undefined && from !== reference.repository) {
      const mounted = await this.#mount(endpoint, new URL(uploads), reference.repository, digest, from, signal);
      if (mounted !== undefined) return mounted === 'mounted' ? undefined : mounted;
    }
    const answer = await this.#post(endpoint, new URL(uploads), scope, signal);
    if (!acceptedStatuses.has(answer.status)) throw await this.#requester.refuse(endpoint, scope, answer);
    discard(answer);
    const isStored = answer.status === 201 && !headerOf(answer, 'location')?.includes('/uploads/');
    return isStored ? undefined : this.#uploadUrl(answer);
  }

  /**
   * A registry that does not mount a blob, for whatever reason, may still take it. It answers with the place of an
   * upload, or is asked for one after undefined.
   */
  async #mount(
    endpoint: Endpoint,
    url: URL,
    repository: string,
    digest: string,
    from: string,
    signal: AbortSignal | undefined,
  ): Promise<'mounted' | URL | undefined> {
    url.searchParams.set('mount', digest);
    url.searchParams.set('from', from);
    try {
      const answer = await this.#post(endpoint, url, pushScope(repository, from), signal);
      discard(answer);
      if (answer.status === 201) return 'mounted';
      if (acceptedStatuses.has(answer.status) && headerOf(answer, 'location') !== undefined)
        return this.#uploadUrl(answer);
      this.#log.debug({ repository, from, digest, status: answer.status }, 'the registry does not mount a blob');
    } catch (error) {
      if (signal?.aborted) throw error;
      this.#log.debug({ repository, from, digest, error: messageOf(error) }, 'the registry does not mount a blob');
    }
    return undefined;
  }

  #post(endpoint: Endpoint, url: URL, scope: string, signal: AbortSignal | undefined): Promise<Answer> {
    return this.#requester.send(endpoint, { method: 'POST', url, scope, headers: { 'content-length': '0' }, signal });
  }

  /**
   * A registry behind a TLS proxy often names itself in plain HTTP, but means the scheme by which it was reached. The
   * same holds if it leaves the scheme out.
   */
  #uploadUrl(answer: Answer): URL {
    const { protocol, host, hostname } = answer.url;
    const told = headerOf(answer, 'location');
    const location = told?.startsWith(`${host}/`) ? `${protocol}//${told}` : told;
    const plain =
      location !== undefined && URL.canParse(location, answer.url.href) ? new URL(location, answer.url) : undefined;
    if (plain?.hostname === hostname && plain.protocol === 'http:') plain.protocol = protocol;
    return this.#requester.elsewhere(answer, plain?.href ?? location);
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
    if (answer.status === 413) {
      const hint = `the registry, or a proxy before it, takes no ${size} bytes in one request: have its limit raised (nginx: client_max_body_size), or make the layer smaller`;
      throw await refusal(answer, { hint });
    }
    if (!acceptedStatuses.has(answer.status)) throw await this.#requester.refuse(endpoint, scope, answer);
    discard(answer);
  }

  #tries(signal: AbortSignal | undefined, bytes = 0): Tries {
    return new Tries(this.#policy, this.#log, signal, bytes);
  }
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/**
 * Ends an upload that makes no progress, or takes too long for its size: the time-outs of the connection watch only
 * answers.
 */
class UploadWatch implements AsyncDisposable {
  readonly #asked: Asked;
  readonly #stalled = new AbortController();
  readonly #streams: Readable[] = [];
  readonly #caller: AbortSignal | undefined;
  readonly #total: NodeJS.Timeout;
  #timer: NodeJS.Timeout;
  #isOver = false;
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
      if (!this.#isOver) this.#timer = this.#arm(ms); // the answer may come before the source ends
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
    this.#isOver = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#total);
    for (const stream of this.#streams) stream.destroy();
    return Promise.resolve();
  }

  #arm(ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#stalled.abort(), ms);
  }
}
