import type { ServerResponse } from 'node:http';

/** A client that takes less, after it has made us wait for a while, gives way to others if there is no room. */
const slowBytesPerMs = 64;
const patienceMs = 2_000;

/** So does one that takes nothing for as long, whatever the buffers of the kernel took before. */
const standstillMs = 5_000;

/** A request that is being answered. */
export class Served {
  readonly address: string;
  readonly #response: ServerResponse;
  readonly #now: () => number;
  #sentBytes = 0;
  #clientMs = 0;
  /** Since when it waits for its client; undefined if it does not. */
  #sinceMs: number | undefined;

  constructor(response: ServerResponse, now: () => number = () => performance.now()) {
    this.#response = response;
    this.#now = now;
    this.address = response.req.socket.remoteAddress ?? '';
  }

  /**
   * Notes that the client was given bytes, and whether its buffer is full; it takes more again when `isTaken` is
   * called.
   */
  give(bytes: number, isFull: boolean): void {
    this.#sentBytes += bytes;
    if (isFull) this.#sinceMs ??= this.#now();
  }

  taken(): void {
    if (this.#sinceMs === undefined) return;
    this.#clientMs += this.#now() - this.#sinceMs;
    this.#sinceMs = undefined;
  }

  /** Bytes a millisecond of waiting for the client; undefined if that was not long. */
  get rate(): number | undefined {
    const waitingMs = this.#sinceMs === undefined ? 0 : this.#now() - this.#sinceMs;
    if (waitingMs >= standstillMs) return 0;
    const ms = this.#clientMs + waitingMs;
    // The last bytes may not have been taken at all.
    return ms < patienceMs ? undefined : this.#sentBytes / ms;
  }

  /** Ends it in the middle of the answer. */
  drop(): void {
    this.#response.destroy();
  }
}

/**
 * Decides which requests are served if not all can be. Slow clients give way to others. If an address has more requests
 * than the address of the new one, its last request gives way.
 */
export class Admission {
  readonly #max: number;
  readonly #served = new Set<Served>();

  constructor(max: number) {
    this.#max = max;
  }

  /** @returns false if there is no room, even if others gave way */
  admit(request: Served): boolean {
    if (this.#served.size >= this.#max) {
      const out = this.#slowest() ?? this.#beyondItsShare(request.address);
      if (out === undefined) return false;
      this.#served.delete(out);
      out.drop();
    }
    this.#served.add(request);
    return true;
  }

  leave(request: Served): void {
    this.#served.delete(request);
  }

  #slowest(): Served | undefined {
    let slowest: Served | undefined;
    for (const each of this.#served) {
      const { rate } = each;
      if (rate !== undefined && rate < (slowest?.rate ?? slowBytesPerMs)) slowest = each;
    }
    return slowest;
  }

  #beyondItsShare(newcomer: string): Served | undefined {
    const counts = new Map<string, number>();
    for (const { address } of this.#served) counts.set(address, (counts.get(address) ?? 0) + 1);
    const [largest, count] = [...counts].toSorted(([, a], [, b]) => b - a)[0] ?? ['', 0];
    if (count <= (counts.get(newcomer) ?? 0) + 1) return undefined;
    return [...this.#served].findLast(({ address }) => address === largest);
  }
}
