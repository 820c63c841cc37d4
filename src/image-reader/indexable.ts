import type { LayerReport } from './inspect.ts';

/** Formats without a table of contents that lazypull reads, of which a pull makes an index. */
const indexable: ReadonlySet<string> = new Set(['gzip', 'tar', 'zstd', 'zstd:chunked']);

/** Whether a layer that names no index can be lazy by a layer index, which the first daemon that pulls it makes. */
export function isIndexable({ problem, format }: Pick<LayerReport, 'problem' | 'format'>): boolean {
  return problem?.reason === 'no_toc' && indexable.has(format);
}

/** What to say of such a layer if no index of it is found. */
export const lazyAfterPull = 'no index of it is found: a daemon pulls it when it is first used, and makes one';
