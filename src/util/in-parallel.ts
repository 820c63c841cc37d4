/**
 * Calls `work` for each item, for `limit` of them at a time, and returns the results in the order of the items. After a
 * failure it begins nothing new, aborts the signal of the others, and waits for them. Then it rejects with the failure.
 *
 * @param signal aborts all of it
 */
export async function inParallel<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T, index: number, signal: AbortSignal) => Promise<R>,
  signal?: AbortSignal,
): Promise<R[]> {
  const failed = new AbortController();
  const either = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
  const results: R[] = [];
  const queue = items.entries();
  const lane = async (): Promise<void> => {
    for (const [i, item] of queue) {
      if (either.aborted) return;
      results[i] = await work(item, i, either);
    }
  };
  const lanes = Array.from({ length: Math.min(limit, items.length) }, lane);
  try {
    await Promise.all(lanes);
  } catch (error) {
    failed.abort(error);
    await Promise.allSettled(lanes);
    throw error;
  }
  signal?.throwIfAborted();
  return results;
}
