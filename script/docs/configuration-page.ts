import { z } from 'zod';
import { hasEffect } from '../../src/config/file.ts';
import { fileSchema } from '../../src/config/schema.ts';
import { cell } from './command-page.ts';

/** As much of JSON Schema as the schema of the configuration needs. */
interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly own?: boolean;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly Schema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | false;
  readonly items?: Schema;
}

/** A key of the file. */
interface Key {
  /** The table that it is in, as the file names it; '' for the top. */
  readonly table: string;
  readonly name: string;
  /** Dotted. */
  readonly path: string;
  readonly schema: Schema;
  readonly description: string;
  readonly own: boolean;
}

/**
 * The page of all keys of config.toml, in Markdown. Throws for a key without a description, and for a key of lazypull's
 * own that has no effect.
 */
export function configurationPage(): string {
  const keys = keysOf(z.toJSONSchema(fileSchema, { io: 'input' }) as Schema);
  const effective = keys.filter(({ path }) => hasEffect(path));
  const idle = keys.filter(({ path }) => !hasEffect(path));
  const forgotten = idle.find(({ own }) => own);
  if (forgotten !== undefined)
    throw new Error(`The key "${forgotten.path}" has no effect: add it to "implemented" in src/config/file.ts`);
  const tables = [...new Set(effective.map(({ table }) => table))];
  return (
    [
      '<!-- Made by "npm run gen:docs" from the schema of the configuration; do not edit. -->',
      '# Configuration',
      `The daemon reads \`/etc/containerd-stargz-grpc/config.toml\`, or the file of \`--config\`, once, when it starts. It may be missing: no key is needed. It is the file of containerd-stargz-grpc, and a file that was written for that works as it is.

A flag wins over the environment, the environment over the file, and the file over the default. The log names keys that are not known, and keys that are set and have no effect. A value of the wrong type is an error. \`lazypull check\` reads the file and says what is wrong with it.

Settings of single registries can be in \`hosts.toml\` files too: [registries.md](registries.md). [cache.md](cache.md) says more about the cache. The commands that read images, such as \`convert\`, \`index\`, \`ls\` and \`why\`, take the mirrors in the file too.`,
      ...tables.flatMap((table) => [
        table === '' ? '## At the top' : `## ${table}`,
        effectiveTable(effective.filter((key) => key.table === table)),
      ]),
      '## Without an effect',
      'These keys of containerd-stargz-grpc are accepted, but what they set does not exist here or is done in another way. If one is set to another value than its default, the log says so.',
      idleTable(idle),
    ].join('\n\n') + '\n'
  );
}

function effectiveTable(keys: readonly Key[]): string {
  const rows = keys.map(
    ({ name, schema, description, own }) =>
      `| \`${name}\` | ${typeText(schema)} | ${defaultText(schema)} | ${cell(description)} | ${own ? 'no' : 'the same key'} |\n`,
  );
  return `| Key | Type | Default | Meaning | In containerd-stargz-grpc |\n|---|---|---|---|---|\n${rows.join('')}`.trimEnd();
}

function idleTable(keys: readonly Key[]): string {
  const rows = keys.map(
    ({ path, schema, description }) =>
      `| \`${path}\` | ${typeText(schema)} | ${defaultText(schema)} | ${cell(description)} |\n`,
  );
  return `| Key | Type | Default | Here |\n|---|---|---|---|\n${rows.join('')}`.trimEnd();
}

/** The keys below a table. A key says by itself what it is, or its table does for all that are in it. */
function keysOf(schema: Schema, path: readonly string[] = [], above: Partial<Key> = {}): Key[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]): Key[] => {
    const description = inner.description ?? above.description;
    const own = inner.own ?? above.own ?? false;
    const [innerPath, table] = tableBelow([...path, name], inner);
    if (table !== undefined)
      return keysOf(table, innerPath, { ...(description === undefined ? {} : { description }), own });
    const dotted = [...path, name].join('.');
    if (description === undefined)
      throw new Error(`The key "${dotted}" has no description: add .describe() in src/config/schema.ts`);
    return [{ table: tableName(path), name, path: dotted.replaceAll('[]', ''), schema: inner, description, own }];
  });
}

/** What a key holds if that has keys of its own, and where those are: a table, tables by name, or a list of tables. */
function tableBelow(path: readonly string[], schema: Schema): [readonly string[], Schema | undefined] {
  if (schema.properties !== undefined) return [path, schema];
  const { additionalProperties: values, items } = schema;
  if (values) return tableBelow([...path, 'NAME'], values);
  return items === undefined ? [path, undefined] : tableBelow([...path, '[]'], items);
}

function tableName(path: readonly string[]): string {
  if (path.length === 0) return '';
  const name = path
    .filter((part) => part !== '[]')
    .map((part) => (part === 'NAME' ? '"NAME"' : part))
    .join('.');
  return path.at(-1) === '[]' ? `[[${name}]]` : `[${name}]`;
}

function typeText(schema: Schema): string {
  const { type, enum: words, anyOf, additionalProperties: values, items, minimum, maximum, exclusiveMinimum } = schema;
  if (words !== undefined) return words.map((word) => `\`"${word}"\``).join(', ');
  if (anyOf !== undefined) return anyOf.map(typeText).join(' or ');
  if (items !== undefined) return `list of ${typeText(items)}`;
  if (values) return `table of ${typeText(values)}`;
  const from = minimum ?? exclusiveMinimum;
  if (type === 'string') return 'text';
  if (from === undefined || maximum === undefined) return String(type);
  if (maximum === Number.MAX_SAFE_INTEGER) return 'integer';
  return `${type}, ${exclusiveMinimum === undefined ? '' : 'above '}${from} to ${maximum}`;
}

function defaultText({ default: value }: Schema): string {
  return value === undefined
    ? '–'
    : `\`${Array.isArray(value) ? '[]' : typeof value === 'object' ? '{}' : JSON.stringify(value)}\``;
}
