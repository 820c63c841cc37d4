/** The weight of the past: after so long, an amount counts a third of a new one. */
const fadeMs = 2_000;

/** A running estimate of an amount a second. */
export class Rate {
  #weighed = 0;
  #atMs = performance.now();

  add(amount: number): void {
    this.#fade();
    this.#weighed += amount;
  }

  get perSecond(): number {
    this.#fade();
    return this.#weighed / (fadeMs / 1000);
  }

  #fade(): void {
    const now = performance.now();
    this.#weighed *= Math.exp((this.#atMs - now) / fadeMs);
    this.#atMs = now;
  }
}
