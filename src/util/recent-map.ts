interface Entry<V> {
  readonly value: V;
  readonly untilMs: number;
}

/**
 * A map that forgets: if there are too many entries, the one that was set longest ago, and each entry after its time.
 */
export class RecentMap<V> {
  readonly #limit: number;
  readonly #entries = new Map<string, Entry<V>>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(key: string): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || performance.now() < entry.untilMs) return entry?.value;
    this.#entries.delete(key);
    return undefined;
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /** @param forMs how long it is remembered; for ever by default */
  set(key: string, value: V, forMs = Number.POSITIVE_INFINITY): void {
    this.#entries.delete(key);
    this.#entries.set(key, { value, untilMs: performance.now() + forMs });
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > this.#limit && oldest !== undefined) this.#entries.delete(oldest);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }
}
