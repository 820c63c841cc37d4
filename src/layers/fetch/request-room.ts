interface Waiter {
  readonly bytes: number;
  readonly isAwaited: () => boolean;
  resume(): void;
}

/**
 * Bounds the memory of the answers that arrive at one time, of all layers together. Who has no room yet leaves the answer in its connection, so that a server that
 * says nothing takes room from nobody. What readers wait for goes first.
 */
export class RequestRoom {
  readonly #maxBytes: number;
  readonly #waiting: Waiter[] = [];
  #bytes = 0;

  /** @param maxBytes for all of them; a larger one has all of the room */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Whether anybody may have to wait: else there is no need to enter. */
  get isBounded(): boolean {
    return Number.isFinite(this.#maxBytes);
  }

  /**
   * Resolves when there is room, or when `signal` aborts.
   *
   * @param isAwaited whether readers wait for what comes: asked whenever there is room
   * @returns gives the room back
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
