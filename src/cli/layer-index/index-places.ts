import { Option } from 'commander';
import { defaults, loadConfig } from '../../config/load.ts';
import { defaultIndexConfig, type IndexConfig, openIndexStore } from '../../indexes/open-layer-indexes.ts';
import type { IndexStore } from '../../indexes/index-store.ts';
import { silentLog } from '../../log.ts';
import { checkNotShared } from '../../state/ownership.ts';
import { jsonLine } from '../../util/printable.ts';
import type { CliCommand } from '../command.ts';
import type { Environment } from '../environment.ts';
import { chooseDaemon, type DaemonChoice, whichDaemon } from '../which-daemon.ts';
import { printText } from '../output.ts';

/** Options of all commands about a machine's indexes. */
export interface StoreOptions extends DaemonChoice {
  readonly config?: string;
  readonly json?: boolean;
}

/** The indexes of one machine. */
export interface Place {
  readonly root: string;
  readonly store: IndexStore;
  readonly config: IndexConfig;
}

/** Adds the options that name the machine's store. */
export function storeOptions(command: CliCommand): CliCommand {
  return chooseDaemon(command).addOption(configOption()).option('--json', 'print JSON, one object a line');
}

/** The store of the machine. A daemon may use it at the same time: each change is one file that comes or goes. */
export async function openPlace(
  options: StoreOptions,
  environment: Environment,
  use: 'reads' | 'changes',
): Promise<Place> {
  const { root } = await whichDaemon(options, environment, use);
  if (use === 'changes') checkNotShared(root);
  const config = await indexConfig(options.config, environment.env);
  return { root, config, store: await openIndexStore(root, config.max_size, silentLog) };
}

/** `[index]` of the config file. */
export async function indexConfig(path: string | undefined, env: NodeJS.ProcessEnv): Promise<IndexConfig> {
  const { file } = await loadConfig({ config: path }, env);
  return file?.index ?? defaultIndexConfig;
}

/** Prints values for programs, or a text for people. */
export function print({ json }: { readonly json?: boolean }, values: readonly object[], text: string): void {
  printText(json === true ? values.map((value) => jsonLine(value)).join('') : text);
}

export function countText(indexes: number): string {
  return `${indexes} ${indexes === 1 ? 'index' : 'indexes'}`;
}

/** The option `--config`. */
function configOption(): Option {
  return new Option('--config <file>', `config.toml with [index] (default: ${defaults.config}, which may be missing)`);
}
