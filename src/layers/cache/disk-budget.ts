/** Watches the disk: if too much is used, it removes what is not in use. */
export interface DiskKeeper {
  /** Checks soon whether too much is used. */
  check(): void;
  /**
   * @throws ResourceExhausted if there is no room for about so many more bytes, even after everything unused is removed
   */
  makeRoom(bytes: number): Promise<void>;
}

/**
 * The part of the disk that layers share with other kept data. It is made first: code that writes asks and tells it,
 * and one keeper watches it.
 */
export class DiskBudget {
  #keeper: DiskKeeper | undefined;
  #isFull = false;

  /** Whether data that cannot be removed fills the budget: then only what is read should be fetched. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Notes that more of the disk is used, or that a write failed for want of space. */
  grow(): void {
    this.#keeper?.check();
  }

  /** @throws ResourceExhausted if there is no room for about so many more bytes */
  async makeRoom(bytes: number): Promise<void> {
    await this.#keeper?.makeRoom(bytes);
  }

  /** Sets the keeper, of which there is one. @returns a function by which it tells whether the budget is full */
  keptBy(keeper: DiskKeeper): (isFull: boolean) => void {
    this.#keeper = keeper;
    return (isFull) => {
      this.#isFull = isFull;
    };
  }
}
