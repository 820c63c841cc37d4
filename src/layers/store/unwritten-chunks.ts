/** What the contents of all layers may take that could not be written. */
const maxBytes = 32 << 20;

/**
 * Contents of rows that are verified and that the disk did not take, so that a chunk which is read piece by piece is not fetched for each
 * piece. The oldest ones make way for new ones.
 */
export class UnwrittenChunks {
  readonly #contents = new Map<string, Uint8Array>();
  #bytes = 0;

  /** @param layer the layer's id in the pool */
  get(layer: number, row: number): Uint8Array | undefined {
    return this.#contents.get(`${layer} ${row}`);
  }

  add(layer: number, row: number, content: Uint8Array): void {
    if (content.length > maxBytes) return;
    this.#remove(`${layer} ${row}`);
    this.#contents.set(`${layer} ${row}`, content);
    this.#bytes += content.length;
    for (const key of this.#contents.keys()) {
      if (this.#bytes <= maxBytes) break;
      this.#remove(key);
    }
  }

  /** Forgets the rows of a layer. */
  forget(layer: number): void {
    for (const key of this.#contents.keys()) if (key.startsWith(`${layer} `)) this.#remove(key);
  }

  #remove(key: string): void {
    this.#bytes -= this.#contents.get(key)?.length ?? 0;
    this.#contents.delete(key);
  }
}
