import { parse, TomlError } from 'smol-toml';
import { LazypullError } from '../errors.ts';

/** A path in a TOML file: its keys and, in arrays, its numbers from 0. */
export type TomlPath = readonly (string | number)[];

/** The values of a TOML text. @throws InvalidArgument that says in one line what is wrong and where */
export function parseTomlText(text: string): Record<string, unknown> {
  try {
    return parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new LazypullError('InvalidArgument', problemText(error, text));
  }
}

function problemText(error: unknown, text: string): string {
  if (!(error instanceof TomlError)) return 'it is not TOML';
  const reason = /^Invalid TOML document: (.*)$/m.exec(error.message)?.[1] ?? 'it is not TOML';
  const line = (text.split('\n')[error.line - 1] ?? '').trim().slice(0, maxShownLine);
  return `${reason} in line ${error.line}, column ${error.column}${line === '' ? '' : `: ${line}`}`;
}

/** How much of a wrong line is repeated. */
const maxShownLine = 80;

/**
 * The line, from 1, with a key of a TOML text, or else with the nearest table above it; undefined if neither is found.
 * It looks at lines that are a header or begin with a key. Values of several lines do not confuse it.
 */
export function lineOf(text: string, path: TomlPath): number | undefined {
  const wanted = path.map(String);
  const counts = new Map<string, number>();
  let table: string[] = [];
  let best: { readonly line: number; readonly depth: number } | undefined;
  let fence: string | undefined;
  for (const [i, line] of text.split('\n').entries()) {
    const isInside = fence !== undefined;
    for (const [quotes] of line.matchAll(/"""|'''/g))
      fence = fence === undefined ? quotes : fence === quotes ? undefined : fence;
    if (isInside) continue;
    const name = /^\s*\[/.test(line) ? headerOf(line, counts) : undefined;
    if (name !== undefined) table = name;
    const here = name ?? keyOf(line, table);
    const isPart = here !== undefined && here.length <= wanted.length && here.every((key, k) => key === wanted[k]);
    if (isPart && here.length > (best?.depth ?? 0)) best = { line: i + 1, depth: here.length };
  }
  return best?.line;
}

/** The path of the table that a header starts. `counts` has the number of elements so far of each array of tables. */
function headerOf(line: string, counts: Map<string, number>): string[] | undefined {
  const keys = keysIn(line);
  if (keys === undefined) return undefined;
  const isElement = /^\s*\[\[/.test(line);
  const path: string[] = [];
  for (const [i, key] of keys.entries()) {
    path.push(key);
    const array = JSON.stringify(path);
    if (isElement && i === keys.length - 1) counts.set(array, (counts.get(array) ?? 0) + 1);
    const count = counts.get(array);
    if (count !== undefined) path.push(String(count - 1));
  }
  return path;
}

function keyOf(line: string, table: readonly string[]): string[] | undefined {
  const [, key] = /^\s*((?:"[^"]*"|'[^']*'|[\w.\s-])+?)\s*=/.exec(line) ?? [];
  const keys = key === undefined ? undefined : keysIn(`${key} = 0`);
  return keys && [...table, ...keys];
}

/** The path of keys at the start of a line of TOML. */
function keysIn(line: string): string[] | undefined {
  const keys: string[] = [];
  try {
    for (let value: unknown = parse(line); typeof value === 'object' && value !== null; ) {
      if (Array.isArray(value)) value = value[0];
      const [entry] = Object.entries(value as object);
      if (entry === undefined) break;
      keys.push(entry[0]);
      value = entry[1];
    }
    return keys;
  } catch {
    return undefined;
  }
}
