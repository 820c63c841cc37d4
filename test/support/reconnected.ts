import { setTimeout as delay } from 'node:timers/promises';

const reconnectMs = 10_000;

/**
 * A client that has lost its snapshotter tries to connect again after a pause of up to three seconds, and fails its
 * calls until then.
 */
export async function reconnected<T>(work: () => Promise<T>): Promise<T> {
  for (const deadline = Date.now() + reconnectMs; ; await delay(500)) {
    try {
      return await work();
    } catch (error) {
      if (Date.now() > deadline || !/connection refused|while dialing/.test(String(error))) throw error;
    }
  }
}
