import { type LookupAddress, type LookupOptions, lookup } from 'node:dns';

type AllCallback = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void;

/** How all addresses of a name are found. */
export type LookupAll = (hostname: string, options: LookupOptions & { all: true }, callback: AllCallback) => void;

/**
 * The same, one lookup at a time for a name: callers that ask meanwhile get what comes of that. A lookup takes one of
 * two threads until the resolver answers or gives up, so connections to a server whose name is not found in time would
 * keep the names of all other servers waiting.
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

/** That of the whole process. */
export const sharedLookup = shared(lookup);
