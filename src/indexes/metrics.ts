import { MetricsRegistry } from '../metrics.ts';

/** How a search for the index of a layer ended. */
export const searchResults = ['here', 'repository', 'referrer', 'none', 'refused', 'failed'] as const;
export type SearchResult = (typeof searchResults)[number];

/** How the push of an index ended. */
export const pushResults = ['pushed', 'present', 'failed', 'left', 'dropped'] as const;

/** Around 0.3 s, which a lookup may take. */
const lookupBounds = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 15];

/** Metrics of layer indexes: how they are found and shared. */
export type IndexMetrics = ReturnType<typeof indexMetrics>;

export function indexMetrics(metrics = new MetricsRegistry()) {
  return {
    searches: metrics.counter(
      'lazypull_index_searches_total',
      'Searches for the index of a layer, by how they ended: found here, in the repository or beside the image as a referrer; none; refused, because it is not trusted or is wrong; failed, because no registry answered in time.',
      { result: searchResults },
    ),
    lookupSeconds: metrics.histogram(
      'lazypull_index_lookup_seconds',
      'How long registries took to say whether they have the index of a layer, with its tail.',
      lookupBounds,
    ),
    pushes: metrics.counter(
      'lazypull_index_pushes_total',
      'Indexes for the repository, by how that ended: pushed; present there already; failed; left for the next start, because the daemon ended; dropped, because too many wait or it was removed.',
      { result: pushResults },
    ),
  };
}
