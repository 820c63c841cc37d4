/** What looks after the disk: removes what is not in use when too much of it is taken. */
export interface DiskKeeper {
  /** Looks soon whether too much is taken. */
  check(): void;
  /** @throws ResourceExhausted if there is no room for about so many more bytes, even with all removed that is not in use */
  makeRoom(bytes: number): Promise<void>;
}

/** The part of the disk that layers and what is kept beside them share. It is made first: those who write ask and tell it, one keeper looks after it. */
export class DiskBudget {
  #keeper: DiskKeeper | undefined;
  #isFull = false;

  /** Whether what cannot be removed takes all that there is: then nothing should be fetched that nobody reads. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Notes that more of the disk is taken, or could not be. */
  grow(): void {
    this.#keeper?.check();
  }

  /** @throws ResourceExhausted if there is no room for about so many more bytes */
  async makeRoom(bytes: number): Promise<void> {
    await this.#keeper?.makeRoom(bytes);
  }

  /** For the keeper, of which there is one. @returns what it says by it whether all is taken */
  keptBy(keeper: DiskKeeper): (isFull: boolean) => void {
    this.#keeper = keeper;
    return (isFull) => {
      this.#isFull = isFull;
    };
  }
}
