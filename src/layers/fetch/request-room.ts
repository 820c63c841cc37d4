interface Waiter {
  readonly bytes: number;
  readonly isAwaited: () => boolean;
  resume(): void;
}

/**
 * Bounds the memory of the answers that arrive at one time, of all layers together. Without room an answer stays in its
 * connection, so a silent server takes no room from others. Answers that readers wait for go first.
 */
export class RequestRoom {
  readonly #maxBytes: number;
  readonly #waiting: Waiter[] = [];
  #bytes = 0;

  /** @param maxBytes for all answers; a larger one takes the whole room */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Whether a request may have to wait: else there is no need to enter. */
  get isBounded(): boolean {
    return Number.isFinite(this.#maxBytes);
  }

  /**
   * Resolves when there is room, or when `signal` aborts.
   *
   * @param isAwaited whether readers wait for the answer: called whenever there is room
   * @returns a function that gives the room back
   */
  async enter(bytes: number, isAwaited: () => boolean, signal: AbortSignal): Promise<() => void> {
    const taken = Math.min(bytes, this.#maxBytes);
    if (this.#waiting.length > 0 || this.#bytes + taken > this.#maxBytes) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const waiter = { bytes: taken, isAwaited, resume: resolve };
      this.#waiting.push(waiter);
      const leave = (): void => {
        const at = this.#waiting.indexOf(waiter);
        if (at < 0) return;
        this.#waiting.splice(at, 1);
        this.#bytes += taken; // it ends at once, and gives that back
        resolve();
      };
      if (signal.aborted) leave();
      signal.addEventListener('abort', leave, { once: true });
      this.#admit();
      await promise;
      signal.removeEventListener('abort', leave);
    } else this.#bytes += taken;
    return () => {
      this.#bytes -= taken;
      this.#admit();
    };
  }

  #admit(): void {
    while (this.#waiting.length > 0) {
      const awaited = this.#waiting.findIndex(({ isAwaited }) => isAwaited());
      const next = this.#waiting[Math.max(awaited, 0)]!;
      if (this.#bytes + next.bytes > this.#maxBytes) return;
      this.#waiting.splice(Math.max(awaited, 0), 1);
      this.#bytes += next.bytes;
      next.resume();
    }
  }
}
