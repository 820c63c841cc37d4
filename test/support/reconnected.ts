import { retried } from './until.ts';

const reconnectMs = 10_000;

/**
 * A client that has lost its snapshotter tries to connect again after a pause of up to three seconds, and fails its
 * calls until then.
 */
export function reconnected<T>(work: () => Promise<T>): Promise<T> {
  return retried(work, (error) => /connection refused|while dialing/.test(String(error)), reconnectMs);
}
