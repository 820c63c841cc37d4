import { BufferPressure } from '../util/buffer-pressure.ts';
import { ampleMemory } from './memory-budget.ts';

/** What holds memory that it can do without: a layer. */
export interface Restable {
  /** When it was last of use, in `performance.now()` milliseconds. */
  readonly lastMissMs: number;
  /** Gives the memory back. @returns false when it is of use just now */
  rest(): boolean;
}

/** How long a table stays that nobody asks. */
const idleMs = 60_000;
const pollMs = 5_000;

/** Bounds the memory that mounted layers take: those that nobody has read for long rest. */
export class TableCache {
  readonly #layers = new Map<Restable, number>();
  readonly #timer = setInterval(() => this.#check(), pollMs).unref();
  readonly #pressure = new BufferPressure(true);
  readonly #maxBytes: number;
  #bytes = 0;

  /** @param maxBytes of chunk tables that are in memory */
  constructor(maxBytes = ampleMemory.tableBytes) {
    this.#maxBytes = maxBytes;
  }

  /** Tells that a layer takes so many bytes of memory from now on, which came through a buffer of the same size. */
  add(layer: Restable, bytes: number): void {
    this.#pressure.released(bytes);
    this.remove(layer);
    this.#layers.set(layer, bytes);
    this.#bytes += bytes;
    this.#trim();
  }

  /** Tells that a layer takes none any more. */
  remove(layer: Restable): void {
    this.#bytes -= this.#layers.get(layer) ?? 0;
    this.#layers.delete(layer);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    const before = performance.now() - idleMs;
    for (const layer of this.#layers.keys()) if (layer.lastMissMs < before) this.#rest(layer);
    this.#trim();
  }

  #trim(): void {
    if (this.#bytes <= this.#maxBytes) return;
    const [, ...others] = [...this.#layers.keys()].toSorted((a, b) => b.lastMissMs - a.lastMissMs);
    for (const layer of others.toReversed()) {
      if (this.#bytes <= this.#maxBytes) return;
      this.#rest(layer);
    }
  }

  #rest(layer: Restable): void {
    const bytes = this.#layers.get(layer) ?? 0;
    if (!layer.rest()) return;
    this.remove(layer);
    this.#pressure.released(bytes);
  }
}
