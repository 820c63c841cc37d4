import { stat } from 'node:fs/promises';
import { join } from 'node:path';

/** No registry host has these characters: they would lead out of the directory. */
const unsafe = /[/\0]|^\.\.?$/;

/**
 * The directory for a registry host in the first of `roots` that has one: `<host>_<port>_`, `<host>:<port>` or
 * `_default`, as in containerd's `config_path`. Undefined if there is none.
 */
export async function findHostDirectory(roots: readonly string[], host: string): Promise<string | undefined> {
  if (unsafe.test(host)) return undefined;
  const colon = /^(.+):(\d+)$/.exec(host);
  const names = [...(colon === null ? [] : [`${colon[1]}_${colon[2]}_`]), host, '_default'];
  for (const root of roots) {
    for (const name of names) {
      const path = join(root, name);
      const isDirectory = await stat(path).then(
        (stats) => stats.isDirectory(),
        () => false,
      );
      if (isDirectory) return path;
    }
  }
  return undefined;
}
