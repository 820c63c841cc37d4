import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type DaemonConfig, type DaemonFlags, defaults, loadConfig } from '../config/load.ts';
import { errnoOf, hintOf, messageOf } from '../errors.ts';
import { findProgram } from '../kernel/programs.ts';
import { credentialSources } from '../registry/auth/credentials/index.ts';
import { readHostDirectory } from '../registry/hosts/hosts-file.ts';
import { absent, type CheckResult, right, warning, wrong } from './check-result.ts';
import { checkDirectIo } from './direct-io.ts';
import { checkConfiguredIndexes } from './check-indexes.ts';
import { checkInodeNumbers } from './inode-numbers.ts';

/** More directories of registries than any machine has; the others are not looked at. */
const maxRegistries = 1_000;

/**
 * Checks config.toml, the files of registries, and Docker's config.json: whether they can be read, and which keys have
 * no effect.
 */
export async function checkFiles(flags: DaemonFlags, env: NodeJS.ProcessEnv): Promise<CheckResult[]> {
  const { result, config } = await checkConfig(flags, env);
  return [
    result,
    ...(await checkRegistries(config)),
    ...(await checkCredentials(env)),
    await checkInodeNumbers(config?.file),
    checkDirectIo(config?.file),
    ...(await checkConfiguredIndexes(config, env)),
  ];
}

async function checkConfig(
  flags: DaemonFlags,
  env: NodeJS.ProcessEnv,
): Promise<{ result: CheckResult; config: DaemonConfig | undefined }> {
  const name = 'config file';
  const path = flags.config ?? (env.LAZYPULL_CONFIG || defaults.config);
  try {
    const config = await loadConfig(flags, env);
    if (config.file === undefined) {
      return { result: right(name, `"${path}" has nothing: every key has its default`), config };
    }
    const { warnings } = config;
    if (warnings.length === 0) return { result: right(name, `"${path}" can be used`), config };
    return {
      result: warning(name, warnings.join('\n'), 'correct or remove these keys: the daemon starts without them'),
      config,
    };
  } catch (error) {
    return { result: unreadable(name, error, 'correct the file, or give another --config'), config: undefined };
  }
}

/** The hosts.toml files. A wrong one makes requests to its registry fail. Correct ones are not listed. */
async function checkRegistries(config: DaemonConfig | undefined): Promise<CheckResult[]> {
  const roots = (config?.file?.resolver.config_path ?? defaults.registryHosts).split(':').filter(Boolean);
  const results: CheckResult[] = [];
  let count = 0;
  for (const root of roots) {
    const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
    for (const entry of entries.slice(0, maxRegistries)) {
      if (entry.isFile()) continue;
      count++;
      try {
        await readHostDirectory(join(root, entry.name), new URL('https://registry.invalid/v2/'));
      } catch (error) {
        results.push(
          unreadable(`registry ${entry.name}`, error, 'correct the file: nothing is fetched from that registry before'),
        );
      }
    }
  }
  if (results.length > 0 || count === 0) return results;
  return [
    right('registries', `the files of ${count} in ${roots.map((root) => `"${root}"`).join(' and ')} can be read`),
  ];
}

async function checkCredentials(env: NodeJS.ProcessEnv): Promise<CheckResult[]> {
  const isProgram = (program: string) => findProgram(program, env.PATH ?? '') !== undefined;
  const results: CheckResult[] = [];
  for (const source of credentialSources(env)) {
    try {
      const found = await source.check?.(isProgram);
      if (found !== undefined) results.push(right('credentials', found));
    } catch (error) {
      results.push(unreadable('credentials', error, `correct what is in "${source.place}"`));
    }
  }
  return results;
}

/** A file that only root can read is fine for a daemon. */
function unreadable(name: string, error: unknown, advice: string): CheckResult {
  if (process.geteuid?.() !== 0 && isRefused(error)) {
    return absent(name, messageOf(error), 'run "lazypull check" as root, as the daemon does');
  }
  return wrong(name, messageOf(error), hintOf(error) ?? advice);
}

function isRefused(error: unknown): boolean {
  for (let e: unknown = error; e instanceof Error; e = e.cause) if (errnoOf(e) === 'EACCES') return true;
  return false;
}
