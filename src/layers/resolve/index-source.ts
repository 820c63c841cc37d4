import type { LayerIndexes } from '../../indexes/layer-indexes.ts';

/** Finds and stores layer indexes: `LayerIndexes`. */
export type IndexSource = Pick<LayerIndexes, 'lookAhead' | 'find' | 'findHere' | 'made' | 'reasonFor'>;

/** Finds and stores nothing. */
export const noIndexes: IndexSource = {
  lookAhead: () => undefined,
  find: () => Promise.resolve(undefined),
  findHere: () => Promise.resolve(undefined),
  made: () => Promise.reject(new Error('There is no store of indexes')),
  reasonFor: () => undefined,
};
