import { readdirSync } from 'node:fs';
import { errnoOf } from '../errors.ts';
import { nameBeforeAside } from '../kernel/mount-point.ts';

/** The id of the snapshot whose directory has this name, also while that is put aside for a mount. undefined for every other name: it is not ours. */
export function idOfDirectory(name: string): number | undefined {
  const id = nameBeforeAside(name);
  return /^[1-9]\d{0,15}$/.test(id) && Number.isSafeInteger(Number(id)) ? Number(id) : undefined;
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
