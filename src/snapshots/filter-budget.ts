import { LazypullError } from '../errors.ts';

/** What the filters of one call may take of the thread: they are evaluated where all calls are answered. */
const maxFilterMicros = 500_000;

/** Bounds the work of one call, so that no request keeps the program from answering others. */
export class FilterBudget {
  #leftMicros = maxFilterMicros;
  /** When the work that is counted began; undefined between. */
  #since: NodeJS.CpuUsage | undefined;

  /** Does something and counts what it takes. What is done within it is counted once. @throws ResourceExhausted if nothing is left before it begins */
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
    return new LazypullError('ResourceExhausted', 'The filters take too long', {
      hint: 'ask for a name, a parent or fewer fields',
    });
  }

  #spent(): number {
    if (this.#since === undefined) return 0;
    const { user, system } = process.threadCpuUsage(this.#since);
    return user + system;
  }
}
