import type { Results } from '../results.ts';
import type { SubjectId } from '../subjects.ts';
import { formatSeconds } from './statistics.ts';
import { type Figure, type Row, summarize } from './summary.ts';

const width = 880;
const margin = 16;
const labels = 130;
/** Room to the right of the longest bar for its number. */
const numbers = 70;
const barHeight = 14;
const barGap = 2;
const groupGap = 8;
const titleHeight = 34;

const colors: Readonly<Record<SubjectId, string>> = {
  full: '#8c959f',
  lazypull: '#0969da',
  'lazypull-trace': '#1a7f64',
  'lazypull-warm': '#7db8f5',
  'lazypull-index': '#0d9488',
  'lazypull-team': '#5eead4',
  stargz: '#d1711c',
};

/**
 * The seconds of the results as bars in an SVG: a panel for each work with a scale of its own, a group for each link, a
 * thin line from the least to the most.
 */
export function formatPicture(results: Results): string {
  const rows = summarize(results);
  const parts: string[] = [];
  let y = margin + legend(results, parts);
  for (const work of new Set(rows.map((row) => row.work))) {
    y = panel(
      results,
      rows.filter((row) => row.work === work),
      y,
      parts,
    );
  }
  const footer = `${results.machine.processor}, ${results.machine.cores} cores, ${results.machine.kernel}, ${results.date.slice(0, 10)}; ${results.runs === 1 ? 'one run' : `medians of ${results.runs} runs`}, seconds, less is better`;
  y += titleHeight;
  parts.push(text(margin, y, footer, 'small'));
  const height = y + margin;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
<title>Seconds by work, link and subject</title>
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px }
.small { font-size: 11px; fill: #59636e }
.end { text-anchor: end }
</style>
<rect width="${width}" height="${height}" fill="#ffffff"/>
${parts.join('\n')}
</svg>
`;
}

/** @returns its height */
function legend({ subjects }: Results, parts: string[]): number {
  let x = margin;
  for (const { id, title } of subjects) {
    parts.push(`<rect x="${x}" y="${margin}" width="12" height="12" fill="${colors[id]}"/>`);
    parts.push(text(x + 17, margin + 10, title));
    x += 17 + title.length * 7 + 20;
  }
  return 20;
}

/** Draws the rows of one work from `y` on. @returns where the next one can begin */
function panel({ subjects }: Results, rows: readonly Row[], y: number, parts: string[]): number {
  const [first] = rows;
  if (first === undefined) return y;
  const figures = rows.flatMap((row) => Object.values(row.figures));
  const longest = Math.max(...figures.map(({ most }) => most));
  const scale = (width - 2 * margin - labels - numbers) / longest;
  const title = first.work.includes('+') ? first.title : `(${first.work}) ${first.title}`;
  parts.push(text(margin, y + titleHeight - 10, title, 'title'));
  let top = y + titleHeight;
  for (const row of rows) {
    const shown = subjects.flatMap(({ id }) => {
      const figure = row.figures[id];
      return figure === undefined ? [] : [{ id, figure }];
    });
    const height = shown.length * (barHeight + barGap) - barGap;
    if (row.link !== 'none') parts.push(text(margin + labels - 10, top + height / 2 + 4, row.link, 'small end'));
    for (const { id, figure } of shown) {
      parts.push(bar(figure, colors[id], top, scale));
      top += barHeight + barGap;
    }
    top += groupGap;
  }
  return top;
}

function bar({ seconds, least, most }: Figure, color: string, y: number, scale: number): string {
  const x = margin + labels;
  const middle = y + barHeight / 2;
  const at = (value: number) => (x + value * scale).toFixed(1);
  const spread =
    most > least
      ? `<line x1="${at(least)}" x2="${at(most)}" y1="${middle}" y2="${middle}" stroke="#1f2328" stroke-width="1"/>`
      : '';
  const number = text(Number(at(most)) + 6, y + barHeight - 3, formatSeconds(seconds), 'small');
  return `<rect x="${x}" y="${y}" width="${(seconds * scale).toFixed(1)}" height="${barHeight}" fill="${color}"/>${spread}${number}`;
}

function text(x: number, y: number, content: string, style = ''): string {
  const escaped = content.replaceAll('`', '').replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return `<text x="${x}" y="${y}"${style === '' ? '' : ` class="${style}"`}>${escaped}</text>`;
}
