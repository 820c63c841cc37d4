/**
 * How the daemon got a layer: by the table of contents in its blob, by a layer index, by pulling all of it, or from an
 * earlier use on this machine.
 */
export const layerHows = ['toc', 'index', 'pull', 'kept'] as const;
export type LayerHow = (typeof layerHows)[number];

/** How the daemon got a layer, and a few words for people: where its index comes from, how long the pull took. */
export interface LayerOrigin {
  readonly how: LayerHow;
  readonly text: string;
}

export const ofToc: LayerOrigin = { how: 'toc', text: 'by its table of contents' };
export const ofCache: LayerOrigin = { how: 'kept', text: 'from the cache of this machine' };
