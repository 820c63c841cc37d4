/** Rows [first, last) of a chunk table. */
export interface RowRange {
  first: number;
  last: number;
}
