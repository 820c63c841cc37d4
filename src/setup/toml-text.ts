import { isDeepStrictEqual } from 'node:util';
import { parse } from 'smol-toml';
import { LazypullError } from '../errors.ts';
import { parseTomlText } from '../util/toml.ts';

/** Values of one table of a TOML file. */
export interface TomlTable {
  readonly path: readonly string[];
  readonly values: Readonly<Record<string, string | boolean | number | readonly string[]>>;
}

type Json = Record<string, unknown>;

/** The text of tables, to append to a file. */
export function tomlOf(tables: readonly TomlTable[]): string {
  return tables
    .map(({ path, values }) => [`[${path.map(keyText).join('.')}]`, ...linesOf(values, '  ')].join('\n'))
    .join('\n\n');
}

/**
 * Sets these values in a TOML text. Everything else stays as it is, with comments and order. An existing value is
 * replaced in its line, a new value comes below the header of its table, and a new table at the end.
 *
 * @throws InvalidArgument if the text is not TOML; FailedPrecondition if such small changes cannot do it, as in an
 * inline table
 */
export function withTables(text: string, tables: readonly TomlTable[]): string {
  return tables.reduce(withTable, text);
}

/**
 * Puts a table before all others, because their order matters. An existing table gets the values and stays in its
 * place.
 *
 * @throws as `withTables`
 */
export function withFirstTable(text: string, table: TomlTable): string {
  const wanted = parseToml(text);
  const before = structuredClone(wanted);
  Object.assign(tableAt(wanted, table.path), table.values);
  if (isSame(before, wanted)) return text;
  const lines = text.split('\n');
  const first = lines.findIndex((line) => /^\s*\[/.test(line));
  if (first < 0 || lines.some((line) => isHeaderOf(line, table.path))) return withTables(text, [table]);
  lines.splice(first, 0, ...`${tomlOf([table])}\n`.split('\n'));
  return checked(lines.join('\n'), wanted);
}

/**
 * Appends elements to an array of tables.
 *
 * @throws as `withTables`
 */
export function withElements(text: string, path: readonly string[], elements: readonly TomlTable['values'][]): string {
  if (elements.length === 0) return text;
  const wanted = parseToml(text);
  const parent = tableAt(wanted, path.slice(0, -1));
  const name = path.at(-1)!;
  const there = parent[name] ?? [];
  if (!Array.isArray(there)) throw unsafe();
  parent[name] = [...there, ...elements];
  const header = `[[${path.map(keyText).join('.')}]]`;
  const blocks = elements.map((values) => [header, ...linesOf(values, '  ')].join('\n'));
  return checked(`${ended(text)}${blocks.join('\n')}\n`, wanted);
}

/** The values of a TOML text. @throws InvalidArgument if it is not TOML */
export function parseToml(text: string): Json {
  try {
    return parseTomlText(text);
  } catch (cause) {
    throw new LazypullError('InvalidArgument', 'It is not TOML', { cause });
  }
}

function withTable(text: string, { path, values }: TomlTable): string {
  const wanted = parseToml(text);
  const before = structuredClone(wanted);
  Object.assign(tableAt(wanted, path), values);
  if (isSame(before, wanted)) return text;
  const lines = text.split('\n');
  const header = lines.findIndex((line) => isHeaderOf(line, path));
  if (header < 0) return checked(`${ended(text)}${tomlOf([{ path, values }])}\n`, wanted);
  const indent = `${/^\s*/.exec(lines[header]!)![0]}  `;
  for (const [key, value] of Object.entries(values).toReversed()) {
    const end = lines.findIndex((line, i) => i > header && /^\s*\[/.test(line));
    const at = lines.findIndex((line, i) => i > header && (end < 0 || i < end) && keyOf(line) === key);
    const [line] = linesOf({ [key]: value }, at < 0 ? indent : /^\s*/.exec(lines[at]!)![0]);
    if (at < 0) lines.splice(header + 1, 0, line!);
    else lines[at] = line!;
  }
  return checked(lines.join('\n'), wanted);
}

/** The table at a path; it is made if it is not there. */
function tableAt(root: Json, path: readonly string[]): Json {
  let table = root;
  for (const key of path) {
    const next = (Object.hasOwn(table, key) ? table[key] : undefined) ?? {};
    if (typeof next !== 'object' || Array.isArray(next)) throw unsafe();
    table[key] = next;
    table = next as Json;
  }
  return table;
}

/** The text, if it has exactly the wanted values. */
function checked(text: string, wanted: Json): string {
  try {
    if (isSame(parse(text) as Json, wanted)) return text;
  } catch {
    // It is not valid TOML at all.
  }
  throw unsafe();
}

/** The parser's tables have no prototype; ours have one. */
function isSame(a: Json, b: Json): boolean {
  return isDeepStrictEqual(structuredClone(a), structuredClone(b));
}

function unsafe(): LazypullError {
  return new LazypullError('FailedPrecondition', 'It is written in a way that a program cannot change safely');
}

function isHeaderOf(line: string, path: readonly string[]): boolean {
  if (!/^\s*\[[^[]/.test(line)) return false;
  try {
    let table: unknown = parse(line);
    for (const key of path) table = (table as Json)[key];
    return typeof table === 'object' && table !== null && Object.keys(table).length === 0;
  } catch {
    return false;
  }
}

function keyOf(line: string): string | undefined {
  return /^\s*["']?([\w.-]+)["']?\s*=/.exec(line)?.[1];
}

function linesOf(values: TomlTable['values'], indent: string): string[] {
  return Object.entries(values).map(([key, value]) => `${indent}${keyText(key)} = ${JSON.stringify(value)}`);
}

function keyText(key: string): string {
  return /^[\w-]+$/.test(key) ? key : JSON.stringify(key);
}

/** A text to which something can be appended after an empty line. */
function ended(text: string): string {
  return text === '' ? '' : `${text.trimEnd()}\n\n`;
}
