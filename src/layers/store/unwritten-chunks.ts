/** Maximum memory for unwritten chunks of all layers. */
const maxBytes = 32 << 20;

/**
 * Contents of verified chunks that the disk refused. So a chunk that is read piece by piece is not fetched for each
 * piece. New ones replace the oldest.
 */
export class UnwrittenChunks {
  readonly #contents = new Map<string, Uint8Array>();
  #bytes = 0;

  /** @param layer the layer's id in the pool */
  get(layer: number, chunk: number): Uint8Array | undefined {
    return this.#contents.get(`${layer} ${chunk}`);
  }

  add(layer: number, chunk: number, content: Uint8Array): void {
    if (content.length > maxBytes) return;
    this.#remove(`${layer} ${chunk}`);
    this.#contents.set(`${layer} ${chunk}`, content);
    this.#bytes += content.length;
    for (const key of this.#contents.keys()) {
      if (this.#bytes <= maxBytes) break;
      this.#remove(key);
    }
  }

  /** Forgets the chunks of a layer. */
  forget(layer: number): void {
    for (const key of this.#contents.keys()) if (key.startsWith(`${layer} `)) this.#remove(key);
  }

  #remove(key: string): void {
    this.#bytes -= this.#contents.get(key)?.length ?? 0;
    this.#contents.delete(key);
  }
}
