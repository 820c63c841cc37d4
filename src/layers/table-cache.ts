import { BufferPressure } from '../util/buffer-pressure.ts';
import { ampleMemory } from './memory-budget.ts';

/** Holds memory that it can do without: a layer. */
export interface Restable {
  /** When it was last needed, in `performance.now()` milliseconds. */
  readonly lastMissMs: number;
  /** Releases the memory. @returns false if it is needed now */
  rest(): boolean;
}

/** How long an unused table stays. */
const idleMs = 60_000;
const pollMs = 5_000;

/** Bounds the memory of mounted layers: those that were not read for long become idle. */
export class TableCache {
  readonly #layers = new Map<Restable, number>();
  readonly #timer = setInterval(() => this.#check(), pollMs).unref();
  readonly #pressure = new BufferPressure(true);
  readonly #maxBytes: number;
  #bytes = 0;
  /** Whether tables have become garbage since the last collection, and since the last check. */
  #hasGarbage = false;
  #hasNewGarbage = false;

  /** @param maxBytes bytes of chunk tables in memory */
  constructor(maxBytes = ampleMemory.tableBytes) {
    this.#maxBytes = maxBytes;
  }

  /** Notes that a layer uses so many bytes of memory from now on, which came through a buffer of the same size. */
  add(layer: Restable, bytes: number): void {
    this.#released(bytes);
    this.remove(layer);
    this.#layers.set(layer, bytes);
    this.#bytes += bytes;
    this.#trim();
  }

  /** Notes that a layer uses none any more. */
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
    if (this.#hasGarbage && !this.#hasNewGarbage) {
      this.#pressure.rest(); // the last ones are too few for a collection
      this.#hasGarbage = false;
    }
    this.#hasNewGarbage = false;
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
    this.#released(bytes);
  }

  #released(bytes: number): void {
    this.#hasGarbage = this.#hasNewGarbage = true;
    this.#pressure.released(bytes);
  }
}
