/** Bytes of buffers that may become garbage before a thread looks for it: of short-lived ones, and of those that it has had for long. */
const collectAfterBytes = 4 << 20;
const collectAllAfterBytes = 8 << 20;

type Collect = (options: { type: 'minor' | 'major'; flavor?: 'regular' | 'last-resort' }) => void;

/**
 * Keeps a thread's dropped buffers from piling up. V8 counts only its own heap when it decides to collect, and lets tens of MB of
 * buffers outside of it wait. Does something only where Node runs with `--expose-gc`.
 */
export class BufferPressure {
  readonly #collect = (globalThis as { gc?: Collect }).gc;
  #bytes = 0;
  #oldBytes = 0;

  /** Tells that buffers of so many bytes have been used up. */
  dropped(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < collectAfterBytes) return;
    this.#bytes = 0;
    this.#collect?.({ type: 'minor' });
  }

  /** Tells that buffers of so many bytes, which had been there for long, have been used up. */
  released(bytes: number): void {
    this.#oldBytes += bytes;
    if (this.#oldBytes < collectAllAfterBytes) return;
    this.#oldBytes = 0;
    this.#collect?.({ type: 'major' });
  }

  /**
   * Collects everything at once: for a moment at which nobody waits.
   *
   * @param thoroughly also gives the pages back on which there is no object any more, which takes several times as long
   */
  rest(thoroughly = false): void {
    this.#bytes = 0;
    this.#collect?.({ type: 'major', flavor: thoroughly ? 'last-resort' : 'regular' });
  }
}
