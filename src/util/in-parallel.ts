/**
 * Does `work` on each item, on `limit` of them at a time, and gives the results in the order of the items. After a
 * failure nothing new is begun, the signal that the others have aborts, and they are waited for; then this rejects with
 * the failure.
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
