import { printable } from '../util/printable.ts';
import { displayWidth, padEnd } from './screen.ts';

/** The first twelve characters of a digest's hex, as container tools show it. */
export function shorten(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1).slice(0, 12);
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** A size in the unit that suits it: `812 B`, `1.5 kB`, `3.1 GB`. */
export function sizeText(bytes: number): string {
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  let unit = -1;
  for (; bytes >= 999.95 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${bytes.toFixed(1)} ${units[unit]}`;
}

const units = ['kB', 'MB', 'GB', 'TB', 'PB'];

/** A bar of `width` characters, of which the share `part`, 0 to 1, is filled. It is full only if `part` is 1. */
export function bar(part: number, width: number): string {
  const filled = Math.max(0, Math.min(Math.floor(part * width), width));
  return `[${'#'.repeat(filled)}${'.'.repeat(width - filled)}]`;
}

/** A cell of a table: a foreign text, or one of ours with colours in it. */
export type Cell = string | { readonly painted: string };

/**
 * Rows in columns that are as wide as necessary, a line each. Characters that a terminal would take as a command are
 * shown as `?`.
 */
export function table(rows: readonly (readonly Cell[])[]): string {
  const safe = rows.map((row) => row.map((cell) => (typeof cell === 'string' ? printable(cell) : cell.painted)));
  const widths: number[] = [];
  for (const row of safe)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, displayWidth(cell));
  const lines = safe.map((row) => row.map((cell, i) => padEnd(cell, widths[i] ?? 0)).join('  '));
  return lines.map((line) => `${line.trimEnd()}\n`).join('');
}

/** The time since an event: `5d`, `3h`, `12m` or `40s`. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [unit, length] = timeUnits.find(([, length]) => seconds >= length) ?? ['s', 1];
  return `${Math.floor(seconds / length)}${unit}`;
}

/** Letters of units of time, and their seconds. */
export const timeUnits: readonly (readonly [string, number])[] = [
  ['d', 86_400],
  ['h', 3600],
  ['m', 60],
  ['s', 1],
];
