import koffi from 'koffi';

/** The address of a buffer, which is below 2^53 on every machine that Node runs on. */
export class Address {
  #buffer: ArrayBufferLike | undefined;
  #address = 0;

  of(bytes: Uint8Array): number {
    // A small array may lie in memory that moves, until its buffer is asked for.
    const { buffer } = bytes;
    if (buffer !== this.#buffer) {
      this.#address = buffer.byteLength === 0 ? 0 : Number(koffi.address(new Uint8Array(buffer)));
      this.#buffer = buffer;
    }
    return this.#address + bytes.byteOffset;
  }
}
