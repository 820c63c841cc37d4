import { cellsOf, type ReadStrip, stripCells } from '../../layers/uses/read-strip.ts';

/** Times of the first read by which parts are coloured: those up to so many milliseconds, and what they are called. */
export const readTimes = [
  { upToMs: 1000, name: 'in the first second' },
  { upToMs: 5000, name: 'up to 5 s' },
  { upToMs: 30_000, name: 'up to 30 s' },
  { upToMs: 300_000, name: 'up to 5 min' },
  { upToMs: Infinity, name: 'later' },
] as const;

const height = 24;

/**
 * A layer as a strip, in SVG: what was read is as high as the share that was read and has a colour by time, what was
 * fetched and not read is half as high and grey, what is not here is empty. Styles come from the page.
 */
export function stripPicture(strip: ReadStrip, label: string): string {
  const cells = cellsOf(strip);
  const parts: string[] = [];
  for (let first = 0; first < cells.length; ) {
    const key = keyOf(cells[first]!);
    let last = first + 1;
    while (last < cells.length && keyOf(cells[last]!) === key) last++;
    parts.push(...rectangles(cells[first]!, first, last - first));
    first = last;
  }
  return `<svg class="strip" viewBox="0 0 ${stripCells} ${height}" preserveAspectRatio="none" role="img" aria-label="${label}">${parts.join('')}</svg>`;
}

type Cell = ReturnType<typeof cellsOf>[number];

function rectangles({ read, present, readMs }: Cell, x: number, width: number): string[] {
  const bar = (kind: string, high: number): string =>
    `<rect class="${kind}" x="${x}" y="${height - high}" width="${width}" height="${high}"/>`;
  const here = present > 0 ? [bar('here', Math.max(2, Math.round((height / 2) * (present / 100))))] : [];
  const high = Math.max(5, Math.round((height * read) / 100));
  return read > 0 && readMs !== undefined ? [...here, bar(timeClass(readMs), high)] : here;
}

function timeClass(ms: number): string {
  return `t${readTimes.findIndex(({ upToMs }) => ms <= upToMs)}`;
}

/** Cells with the same key look the same. */
function keyOf({ read, present, readMs }: Cell): string {
  return `${read} ${present} ${readMs === undefined ? '' : timeClass(readMs)}`;
}
