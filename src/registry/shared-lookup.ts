import { type LookupAddress, type LookupOptions, lookup } from 'node:dns';

type AllCallback = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void;

/** A function that finds all addresses of a name. */
export type LookupAll = (hostname: string, options: LookupOptions & { all: true }, callback: AllCallback) => void;

/**
 * The same, one lookup at a time for a name: concurrent callers share its result. A lookup occupies one of two threads
 * until the resolver answers or gives up. So connections to a server whose name is not found in time would block the
 * names of all other servers.
 */
export function shared(look: LookupAll): LookupAll {
  const flights = new Map<string, AllCallback[]>();
  return (hostname, options, callback) => {
    const { family = 0, hints = 0, order, verbatim } = options;
    const key = JSON.stringify([hostname, family, hints, order, verbatim]);
    const waiting = flights.get(key);
    if (waiting !== undefined) return void waiting.push(callback);
    const callbacks = [callback];
    flights.set(key, callbacks);
    look(hostname, options, (error, addresses) => {
      flights.delete(key);
      for (const each of callbacks) each(error, addresses);
    });
  };
}

/** The shared lookup of the whole process. */
export const sharedLookup = shared(lookup);
