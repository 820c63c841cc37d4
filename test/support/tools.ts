import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

/** The root of this repository. */
export const repository = dirname(dirname(import.meta.dirname));

/** Where script/setup puts the programs that it builds. */
export const builtTools = join(repository, '.cache', 'bin');

/** The programs of one installation of BuildKit. */
export interface BuildkitTools {
  readonly buildkitd: string;
  readonly buildctl: string;
}

/** BuildKit from BUILDKIT_BIN_PATH, else from PATH if both programs are there, else as built by script/setup. */
export function buildkitTools(): BuildkitTools {
  const chosen = process.env['BUILDKIT_BIN_PATH'];
  if (chosen !== undefined && chosen !== '')
    return { buildkitd: join(chosen, 'buildkitd'), buildctl: join(chosen, 'buildctl') };
  const buildkitd = inPath('buildkitd');
  const buildctl = inPath('buildctl');
  if (buildkitd !== undefined && buildctl !== undefined) return { buildkitd, buildctl };
  return { buildkitd: builtTool('buildkitd'), buildctl: builtTool('buildctl') };
}

/** A program that script/setup builds from tools/. Throws when it is not there. */
export function builtTool(name: string): string {
  const path = join(builtTools, name);
  if (!existsSync(path)) throw new Error(`Cannot find ${path}: run script/setup`);
  return path;
}

/** A program of the system, from PATH. Throws when it is not there. */
export function systemTool(name: string): string {
  const path = inPath(name);
  if (path === undefined) throw new Error(`Cannot find "${name}" in PATH: run script/setup`);
  return path;
}

/** PATH with our own programs in it: containerd finds its shim there. */
export function pathWithTools(): string {
  return `${builtTools}${delimiter}${process.env['PATH'] ?? ''}`;
}

function inPath(name: string): string | undefined {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this one.
    }
  }
  return undefined;
}
