/** Chunks [first, last) of a chunk table. */
export interface ChunkRange {
  first: number;
  last: number;
}

/** All chunks in runs of some bytes, with one chunk at least. @param size of each chunk */
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
