import { LazypullError } from '../errors.ts';

/** Bounds the work of one call, so that no request keeps the program from answering others. */
export class StepBudget {
  #left: number;

  /** @param steps how many steps, each of some 20 nanoseconds, may be taken */
  constructor(steps: number) {
    this.#left = steps;
  }

  /** @throws ResourceExhausted when there are no steps left */
  take(steps: number): void {
    this.#left -= steps;
    if (this.#left >= 0) return;
    throw new LazypullError('ResourceExhausted', 'The filters take too long; ask for a name, a parent or fewer fields');
  }
}
