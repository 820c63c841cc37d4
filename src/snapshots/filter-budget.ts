import { LazypullError } from '../errors.ts';

/**
 * How much time of the thread the filters of one call may take: they are evaluated on the thread that answers all
 * calls.
 */
const maxFilterMicros = 500_000;

/** Bounds the work of one call, so that no request keeps the program from answering others. */
export class FilterBudget {
  #leftMicros = maxFilterMicros;
  /** When the work that is being counted began; undefined if none is. */
  #since: NodeJS.CpuUsage | undefined;

  /**
   * Does some work and counts its time. Nested work is counted once. @throws ResourceExhausted if no time is left
   * before it begins
   */
  spend<T>(work: () => T): T {
    if (this.#leftMicros - this.#spent() <= 0) throw this.exhausted();
    if (this.#since !== undefined) return work();
    this.#since = process.threadCpuUsage();
    try {
      return work();
    } finally {
      this.#leftMicros -= this.#spent();
      this.#since = undefined;
    }
  }

  /** The error of a call whose filters take too long. */
  exhausted(): LazypullError {
    return new LazypullError('ResourceExhausted', 'The filters take too long to evaluate', {
      hint: 'filter by name or parent, or by fewer fields',
    });
  }

  #spent(): number {
    if (this.#since === undefined) return 0;
    const { user, system } = process.threadCpuUsage(this.#since);
    return user + system;
  }
}
