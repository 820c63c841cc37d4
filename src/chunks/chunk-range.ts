/** Chunks [first, last) of a chunk table. */
export interface ChunkRange {
  first: number;
  last: number;
}

/** Cuts all chunks into runs of some bytes, at least one chunk each. @param size size of each chunk in bytes */
export function* chunkRuns(size: Float64Array, runBytes: number): Generator<ChunkRange> {
  let first = 0;
  let bytes = 0;
  for (let chunk = 0; chunk < size.length; chunk++) {
    bytes += size[chunk]!;
    if (bytes < runBytes && chunk + 1 < size.length) continue;
    yield { first, last: chunk + 1 };
    first = chunk + 1;
    bytes = 0;
  }
}
