/**
 * Decodes zstd frames (RFC 8878), skippable ones too, into memory of the caller, at once. Made by kernel/zstd.ts.
 * Methods throw DataLoss for what is no zstd.
 */
export interface FrameDecoder extends Disposable {
  /**
   * Reads input[at …] and writes output[from …]. Returns at the end of a frame, or when the input is used up or the
   * output is full. What comes next is the rest of the
   * frame, or another frame.
   */
  step(
    input: Uint8Array,
    at: number,
    output: Uint8Array,
    from: number,
  ): { readonly consumed: number; readonly produced: number; readonly isFrameEnd: boolean };
}
