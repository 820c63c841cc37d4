import { readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf, LazypullError } from '../errors.ts';
import { makeDirectory } from '../kernel/make-directory.ts';
import { mirrorAddressOf } from '../mirror/address.ts';
import { checkRegistry, withBuildkitMirror } from '../setup/mirror-files.ts';
import { flagValue } from './flags.ts';
import type { Instance } from './places.ts';

/** Where buildkitd looks for its configuration by default. */
const defaultConfig = '/etc/buildkit/buildkitd.toml';

/** The mirror of a buildkitd of our own. */
export interface OwnMirror {
  /** Registries that it asks through the mirror. */
  readonly registries: readonly string[];
  /** The path of the configuration that is written for buildkitd: its own one plus the mirror. */
  readonly config: string;
}

/**
 * Takes our flag `--mirror REGISTRY` out of the flags for buildkitd.
 *
 * @throws InvalidArgument for a value that is no registry
 */
export function takeMirrorFlags(flags: readonly string[]): { registries: string[]; rest: string[] } {
  const registries: string[] = [];
  const rest: string[] = [];
  for (let i = 0; i < flags.length; i++) {
    const flag = flags[i]!;
    if (flag === '--mirror') registries.push(flags[++i] ?? '');
    else if (flag.startsWith('--mirror=')) registries.push(flag.slice('--mirror='.length));
    else rest.push(flag);
  }
  for (const registry of registries) checkRegistry(registry);
  return { registries, rest };
}

/**
 * Writes a configuration for buildkitd with the mirror of the daemon in it.
 *
 * @returns the flags with that configuration
 * @throws FailedPrecondition if the daemon has no mirror, or the configuration cannot be changed
 */
export async function withMirrorConfig(
  args: readonly string[],
  { registries, config }: OwnMirror,
  { address, root }: Instance,
): Promise<string[]> {
  const mirror = await mirrorAddressOf(root);
  if (mirror === undefined) {
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot use the mirror of the daemon at "${address}": it runs without one; end it, or start it with --mirror-address`,
    );
  }
  const own = flagValue(args, 'config');
  try {
    const text = withBuildkitMirror(textOf(own ?? defaultConfig, own !== undefined), { address: mirror, registries });
    makeDirectory(dirname(config), 0o700);
    writeFileSync(config, `# Written by "lazypull buildkitd" from "${own ?? defaultConfig}".\n${text}`, {
      mode: 0o600,
    });
  } catch (cause) {
    throw new LazypullError('FailedPrecondition', `Cannot put the mirror into the configuration of buildkitd`, {
      cause,
    });
  }
  return [...args, `--config=${config}`]; // the last one counts
}

function textOf(path: string, isNeeded: boolean): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && !isNeeded) return '';
    throw error;
  }
}
