import { InvalidArgumentError, Option } from 'commander';
import { defaults, loadConfig } from '../config/load.ts';
import { messageOf } from '../errors.ts';
import { say } from './output.ts';
import { parsePlatform, type Platform } from '../images/platforms.ts';
import type { LogLevel } from '../log.ts';
import { createLog } from '../process-log.ts';
import type { RegistryClient } from '../registry/client.ts';
import { parseReference, type Reference } from '../registry/reference.ts';

/** A user at a terminal waits for two time-outs of a silent registry: a minute, or 20 seconds for a connection. */
const silentTries = 2;

/**
 * A client of registries that has the mirrors of the daemon's config file and the credentials of `docker login`. It
 * says on standard error what it waits for. The caller disposes of it. With `isPatient` it waits as long as the
 * daemon's client: if it serves reads of others, or does work that is expensive to repeat.
 */
export async function openRegistry(
  config: string | undefined,
  env: NodeJS.ProcessEnv,
  { logLevel = 'error', isPatient = false }: { logLevel?: LogLevel; isPatient?: boolean } = {},
): Promise<RegistryClient> {
  const waitedFor = new Set<string>();
  const { file } = await loadConfig({ config }, env);
  const { RegistryClient } = await import('../registry/client.ts');
  const { credentialSources } = await import('../registry/auth/credentials/index.ts');
  return new RegistryClient({
    credentials: credentialSources(env),
    hosts: file?.resolver ?? { config_path: defaults.registryHosts },
    log: createLog(logLevel),
    environment: env,
    retry: isPatient ? {} : { silentTries },
    onSilence({ origin }) {
      if (waitedFor.has(origin)) return;
      waitedFor.add(origin);
      say('lazypull', `Waiting for "${origin}", which has not answered yet`);
    },
  });
}

/** An image as an argument, as commander parses arguments. */
export function imageArgument(text: string): Reference {
  try {
    return parseReference(text);
  } catch (error) {
    if (text.startsWith('oci-layout:')) {
      const advice = 'copy it to a registry with "lazypull convert", which takes OCI layouts, and name it there';
      throw new InvalidArgumentError(`Cannot read ${JSON.stringify(text)} here: it is not in a registry; ${advice}`);
    }
    throw new InvalidArgumentError(messageOf(error));
  }
}

/** The option `--platform` of commands that take one image. */
export function platformOption(): Option {
  return new Option('--platform <os/arch>', 'platform of the image (default: that of this machine)').argParser(
    platformArgument,
  );
}

/** A platform as an argument, as commander parses arguments. */
export function platformArgument(text: string): Platform {
  try {
    return parsePlatform(text);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
}
