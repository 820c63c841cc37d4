import { readdirSync } from 'node:fs';
import { errnoOf } from '../errors.ts';

/** The id of the snapshot whose directory has this name; undefined for every other name, because it is not ours. */
function idOfDirectory(name: string): number | undefined {
  return /^[1-9]\d{0,15}$/.test(name) && Number.isSafeInteger(Number(name)) ? Number(name) : undefined;
}

/** The ids of the snapshots that have a directory in `path`; none if there is no such directory. */
export function idsIn(path: string): ReadonlySet<number> {
  try {
    return new Set(readdirSync(path).flatMap((name) => idOfDirectory(name) ?? []));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return new Set();
    throw error;
  }
}
