import { LazypullError } from '../errors.ts';
import { lineOf, parseTomlText, type TomlPath } from '../util/toml.ts';
import { configHint } from './load.ts';
import { dotted, type FileConfig, fileSchema, problemsIn, quoted, unknownKeysIn } from './schema.ts';

/** If much is wrong in a file, only the first problems are told. */
const maxProblems = 20;

/**
 * Parses the text of a config file.
 *
 * @param path for messages only
 * @returns the file, complete with defaults, and what to tell the user about it
 * @throws InvalidArgument that names the keys with a wrong value
 */
export function parseConfig(text: string, path: string): { file: FileConfig; warnings: string[] } {
  let value: unknown;
  try {
    value = parseTomlText(text);
  } catch (error) {
    throw new LazypullError('InvalidArgument', `Cannot parse the config file "${path}"`, {
      cause: error,
      hint: configHint,
    });
  }
  const at = (where: TomlPath): string => {
    const line = lineOf(text, where);
    return line === undefined ? '' : ` (line ${line})`;
  };
  const problems = problemsIn(value);
  if (problems.length > 0) {
    const texts = problems
      .slice(0, maxProblems)
      .map((problem) => `${dotted(problem.path) || '(top)'}: ${problem.text}${at(problem.path)}`);
    throw new LazypullError('InvalidArgument', `Cannot use the config file "${path}": ${texts.join('; ')}`, {
      hint: configHint,
    });
  }
  const file = fileSchema.parse(value);
  const unknown = unknownKeysIn(value);
  const idle = keysWithoutEffect(file);
  const warnings = [
    ...unknown
      .slice(0, maxProblems)
      .map(
        (key) =>
          `Unknown key ${quoted(dotted(key.path))} in the config file "${path}"${at(key.path)} is ignored${key.text && `: ${key.text}`}`,
      ),
    ...(idle.length > 0 ? [`Keys in the config file "${path}" that have no effect yet: ${idle.join(', ')}`] : []),
  ];
  return { file, warnings };
}

/**
 * Keys that this program acts on, or whose default is what it does anyway. If any other key is set, the user is told.
 */
const implemented: ReadonlySet<string> = new Set([
  'client',
  'metrics_address',
  'no_prometheus',
  'resolver.request_timeout_sec',
  'resolver.config_path',
  'resolver.host',
  'snapshotter.allow_invalid_mounts_on_restart',
  'snapshotter.xino',
  'snapshotter.direct_io',
  'prefetch_size',
  'noprefetch',
  'no_background_fetch',
  'background_fetch.max_bytes_per_second',
  'cache.max_size',
  'cache.min_free',
  'cache.high_water',
  'cache.low_water',
  'index.max_size',
  'index.repository',
  'index.push',
  'index.referrers',
  'index.trusted_keys',
  'index.signing_key',
  'index.lookup_timeout_msec',
  'unindexed.mode',
  'unindexed.min_size',
  'unindexed.max_size',
  'mirror.address',
  'mirror.allow_remote',
]);

/** Whether this program acts on a key, by its dotted name. */
export function hasEffect(key: string): boolean {
  return implemented.has(key) || key.startsWith('resolver.host.') || key.startsWith('client.');
}

function keysWithoutEffect(file: FileConfig): string[] {
  const standard = flatten(fileSchema.parse({}));
  return [...flatten(file)]
    .filter(([key, value]) => !implemented.has(key) && standard.get(key) !== value)
    .map(([key]) => key);
}

/** Leaf keys by dotted name; a leaf is anything but a table. */
function flatten(table: object, prefix = ''): Map<string, string> {
  const leaves = new Map<string, string>();
  for (const [key, value] of Object.entries(table)) {
    const name = prefix + key;
    if (name !== 'resolver.host' && typeof value === 'object' && value !== null && !Array.isArray(value)) {
      for (const [inner, leaf] of flatten(value, `${name}.`)) leaves.set(inner, leaf);
    } else {
      leaves.set(name, JSON.stringify(value));
    }
  }
  return leaves;
}
