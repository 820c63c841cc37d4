import type { LayerIndexes } from '../../indexes/layer-indexes.ts';

/** Where layer indexes are looked for and kept: `LayerIndexes`. */
export type IndexSource = Pick<LayerIndexes, 'lookAhead' | 'find' | 'findHere' | 'made' | 'reasonFor'>;

/** Finds nothing and keeps nothing. */
export const noIndexes: IndexSource = {
  lookAhead: () => undefined,
  find: () => Promise.resolve(undefined),
  findHere: () => Promise.resolve(undefined),
  made: () => Promise.reject(new Error('There is no store of indexes')),
  reasonFor: () => undefined,
};
