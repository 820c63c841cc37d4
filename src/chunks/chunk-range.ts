/** Chunks [first, last) of a chunk table. */
export interface ChunkRange {
  first: number;
  last: number;
}
