import { codeOf, LazypullError, messageOf } from '../../errors.ts';
import { indexTailBytes, type LayerFormat } from '../../formats/layer-format.ts';
import type { ImageAccess } from '../../images/image-access.ts';
import type { Log } from '../../log.ts';
import { RegistryError } from '../../registry/errors.ts';
import { parseReference } from '../../registry/reference.ts';
import { Patience } from './patience.ts';
import { Refusal } from './refusal.ts';

/** A shorter failure costs a client nothing, and nothing is learned from it. */
const costlyMs = 500;

/** How long nothing new is requested from a registry that failed, unless it answers before. */
const forgetMs = 300_000;

/** How long after a failure, and after each failed probe, the next probe is sent: twice as long each time. */
const firstProbeMs = 1_000;
const maxProbeMs = 10_000;

/** How long the first byte of a probe may take. */
const probeTimeoutMs = 5_000;

const maxRegistries = 1_000;

/** A blob that is wanted from a registry. */
interface Wanted {
  readonly image: ImageAccess;
  readonly digest: string;
  /** Its assumed format. Undefined if only its end is needed. */
  readonly format?: LayerFormat | undefined;
}

interface Silence {
  readonly error: string;
  readonly untilMs: number;
  /** The last request: a probe repeats it. */
  wanted: Wanted;
  probeMs: number;
  timer?: NodeJS.Timeout;
}

/**
 * Which registries did not answer lately. A client prepares the layers of an image one after another, so each of them
 * would wait for the same time-out again. So once one has, the others fail at once and the client pulls. In the
 * background the registry is probed until it answers.
 */
export class SilentRegistries {
  readonly #log: Log;
  readonly #silences = new Map<string, Silence>();
  readonly #answeredMs = new Map<string, number>();
  readonly #closing = new AbortController();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Throws `Unavailable` if the registry of a blob is known not to answer. */
  check(wanted: Wanted): void {
    const host = hostOf(wanted.image.reference);
    const silence = this.#silences.get(host);
    if (silence === undefined) return;
    silence.wanted = wanted;
    const what = `The registry "${host}" did not answer lately and is not waited for again: ${silence.error}`;
    throw new Refusal('registry', 'Unavailable', what);
  }

  /**
   * Notes that a registry sent a complete answer. Some bytes are not enough: a registry may begin to send, and stall.
   */
  answered(reference: string): void {
    const host = hostOf(reference);
    this.#answeredMs.delete(host);
    this.#answeredMs.set(host, performance.now());
    forgetOldest(this.#answeredMs);
    const silence = this.#silences.get(host);
    if (silence === undefined) return;
    this.#forget(host, silence);
    this.#log.info({ registry: host }, 'the registry answers again: its layers can be lazy');
  }

  /**
   * Notes that a request at `askedMs` (of performance.now()) failed. Nothing is learned if the registry has answered
   * something else since.
   */
  failed(wanted: Wanted, askedMs: number, error: unknown): void {
    const answeredMs = this.#answeredMs.get(hostOf(wanted.image.reference)) ?? Number.NEGATIVE_INFINITY;
    if (answeredMs <= askedMs) this.stalled(wanted, askedMs, error);
  }

  /** Notes that a request failed after its beginning, whatever else was answered. */
  stalled(wanted: Wanted, askedMs: number, error: unknown): void {
    const now = performance.now();
    const host = hostOf(wanted.image.reference);
    if (!isSilence(error) || now - askedMs < costlyMs || this.#closing.signal.aborted) return;
    if (this.#silences.has(host)) return;
    const silence = { error: messageOf(error), untilMs: now + forgetMs, wanted, probeMs: firstProbeMs };
    this.#silences.set(host, silence);
    const oldest = forgetOldest(this.#silences);
    if (oldest !== undefined) clearTimeout(oldest.timer);
    this.#log.warn(
      { registry: host, error: silence.error },
      'the registry does not answer: clients pull its layers themselves until it does',
    );
    this.#probeLater(host, silence);
  }

  close(): void {
    this.#closing.abort();
    for (const [host, silence] of this.#silences) this.#forget(host, silence);
  }

  #probeLater(host: string, silence: Silence): void {
    silence.timer = setTimeout(() => void this.#probe(host, silence), silence.probeMs).unref();
    silence.probeMs = Math.min(silence.probeMs * 2, maxProbeMs);
  }

  async #probe(host: string, silence: Silence): Promise<void> {
    const { reference } = silence.wanted.image;
    try {
      await this.#ask(silence.wanted);
      this.answered(reference);
    } catch (error) {
      if (this.#silences.get(host) !== silence) return;
      if (!isSilence(error)) this.answered(reference);
      else if (performance.now() > silence.untilMs) this.#forget(host, silence);
      else this.#probeLater(host, silence);
    }
  }

  /** Requests a byte, and then the index, which a client would wait for. */
  async #ask({ image, digest, format }: Wanted): Promise<void> {
    const blob = image.blob(digest);
    const closing = this.#closing.signal;
    await blob.tail(1, AbortSignal.any([AbortSignal.timeout(probeTimeoutMs), closing]));
    using patience = new Patience();
    const stop = AbortSignal.any([patience.signal, closing]);
    const heard = (): void => patience.heard();
    try {
      const tail = await blob.tail(indexTailBytes, stop, heard);
      await format?.fetchIndex(blob, tail, { onBytes: heard, signal: stop });
    } catch (error) {
      if (!patience.signal.aborted) throw error;
      throw new LazypullError('DeadlineExceeded', `The registry of "${image.reference}" stalls`, { cause: error });
    }
  }

  #forget(host: string, silence: Silence): void {
    clearTimeout(silence.timer);
    if (this.#silences.get(host) === silence) this.#silences.delete(host);
  }
}

/**
 * Whether an error shows that a registry, its token server or the way there is in trouble, and not the requested blob.
 */
function isSilence(error: unknown): boolean {
  const code = codeOf(error);
  if (code === 'DeadlineExceeded') return true;
  return error instanceof RegistryError && (code === 'Unavailable' || code === 'ResourceExhausted');
}

function hostOf(reference: string): string {
  try {
    return parseReference(reference).host;
  } catch {
    return reference;
  }
}

function forgetOldest<T>(map: Map<string, T>): T | undefined {
  if (map.size <= maxRegistries) return undefined;
  const [oldest] = map;
  if (oldest !== undefined) map.delete(oldest[0]);
  return oldest?.[1];
}
