/** One blob of a registry, read by ranges. */
export interface Blob {
  /** `sha256:<hex>` of the whole blob. */
  readonly digest: string;

  /**
   * The last `bytes` bytes of the blob (or all of it if it is shorter) and its size. One request if the store takes
   * suffix ranges.
   *
   * @param onBytes called whenever some of them arrive
   */
  tail(bytes: number, signal?: AbortSignal, onBytes?: () => void): Promise<{ data: Buffer; size: number }>;

  /**
   * How many bytes it has, and whether parts of it can be had: if not, each request brings all of it. One small
   * request.
   */
  describe(signal?: AbortSignal): Promise<{ size: number; takesRanges: boolean }>;

  /**
   * Streams the bytes [start, end) of the blob as they arrive: exactly end - start bytes in order, or an error. A
   * connection lost in the middle is resumed from where it stopped, a bounded number of times. Ending the iteration
   * early closes the request.
   */
  range(start: number, end: number, signal?: AbortSignal): AsyncIterable<Buffer>;

  /**
   * Streams several ranges, in ascending order and not adjacent, with one request if the server supports that, else
   * with one each. The pieces of a part come in order, and part after part.
   */
  ranges(
    parts: readonly { readonly start: number; readonly end: number }[],
    signal?: AbortSignal,
  ): AsyncIterable<{ part: number; data: Buffer }>;

  /**
   * Notes that the answer to a request at `askedMs` (of performance.now()) was wrong, as the caller knows from its
   * digests. From now on another server is asked first, unless that has been noted since. Resolves to whether there is
   * another one.
   */
  distrust(askedMs: number): Promise<boolean>;
}
