import type { DaemonConfig } from '../config/load.ts';
import { codeOf, hintOf, messageOf } from '../errors.ts';
import type { IndexRepository } from '../indexes/index-repository.ts';
import { defaultIndexConfig, openIndexParts, signingKey } from '../indexes/open-layer-indexes.ts';
import { silentLog } from '../log.ts';
import { credentialSources } from '../registry/auth/credentials/index.ts';
import { RegistryClient } from '../registry/client.ts';
import { type CheckResult, right, warning, wrong } from './check-result.ts';

/** How long a repository may take to answer. */
const answerMs = 10_000;

/** A digest that no layer has. */
const nobodysLayer = `sha256:${'0'.repeat(64)}`;

/**
 * `[index]` of the config file: its keys, and whether the repository can be read and, if indexes are pushed, written.
 * Nothing if it has no repository and no keys.
 */
export async function checkIndexes(
  config: DaemonConfig,
  client: RegistryClient,
  signal: AbortSignal,
): Promise<CheckResult[]> {
  const index = config.file?.index ?? defaultIndexConfig;
  const name = 'layer indexes';
  try {
    const { repository } = await openIndexParts(config.root, { ...index, max_size: 0 }, client, silentLog);
    if (index.push) await signingKey(index);
    const keys = index.trusted_keys.length;
    const trusted = keys === 0 ? '' : `; ${keys} trusted ${keys === 1 ? 'key' : 'keys'}`;
    if (repository !== undefined) return [await checkRepository(name, repository, index.push, trusted, signal)];
    return keys === 0 ? [] : [right(name, `no repository${trusted}`)];
  } catch (error) {
    return [wrong(name, messageOf(error), hintOf(error) ?? 'correct [index] in the config file')];
  }
}

/** The same with the credentials and mirrors that a daemon would have. */
export async function checkConfiguredIndexes(
  config: DaemonConfig | undefined,
  env: NodeJS.ProcessEnv,
): Promise<CheckResult[]> {
  if (config?.file === undefined) return [];
  await using client = new RegistryClient({
    credentials: credentialSources(env),
    hosts: config.file.resolver,
    environment: env,
    retry: { tries: 1 },
  });
  return await checkIndexes(config, client, AbortSignal.timeout(answerMs));
}

async function checkRepository(
  name: string,
  repository: IndexRepository,
  isPushed: boolean,
  trusted: string,
  signal: AbortSignal,
): Promise<CheckResult> {
  const where = `"${repository.name}"`;
  try {
    await repository.find(nobodysLayer, signal).catch((error: unknown) => {
      if (codeOf(error) !== 'NotFound') throw error;
    });
  } catch (error) {
    const text = `${where} cannot be read: ${messageOf(error)}`;
    return warning(name, text, hintOf(error) ?? 'until it can be read, layers are pulled that it has indexes of');
  }
  if (!isPushed) return right(name, `${where} can be read${trusted}`);
  try {
    await repository.tryPush(signal);
    return right(name, `${where} can be read and written${trusted}`);
  } catch (error) {
    const text = `${where} can be read, but not written: ${messageOf(error)}`;
    return warning(name, text, hintOf(error) ?? 'give the daemon credentials that can push, or set push = false');
  }
}
