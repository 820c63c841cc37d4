import { fetchedBytesOf } from '../../layers/uses/layer-use.ts';
import { cellsOf, type ReadStrip, stripCells } from '../../layers/uses/read-strip.ts';
import type { Report, ReportedImage, ReportedLayer } from '../../status/report.ts';
import { type Paint, plain } from '../../util/colour.ts';
import { printable } from '../../util/printable.ts';
import { endOf, fitted, wrapped } from '../screen.ts';
import { type Cell, shorten, sizeText, table } from '../value-text.ts';
import { fetchedText, howWord, noteOf, timeText, waitedText, waitText } from './report-words.ts';

/** The columns of a report for a pipe or a file. */
const standardColumns = 120;

/** The columns of a row without its strip. */
const rowColumns = 62;

const minStripColumns = 8;

const legend = 'WHAT: # read, + read in part, - fetched and not read, . not fetched';

/** A report for people, in lines of `columns` if possible. */
export function reportText(report: Report, columns = standardColumns, paint: Paint = plain): string {
  const { sinceMs, images, totals, more } = report;
  const line = (text: string): string => `${wrapped(text, columns, 2)}\n`;
  if (images.length === 0) return line(`No client asked for a layer since ${timeText(sinceMs)}`);
  const text = [
    line(`Since ${timeText(sinceMs)}: ${fetchedText(totals)}; ${waitedText(totals)}`),
    ...images.map((image) => imageText(image, columns, paint)),
    `\n${line(legend)}`,
  ];
  if (more > 0) text.push(line(`and ${more} earlier, which --last ${images.length + more} shows too`));
  return text.join('');
}

function imageText(image: ReportedImage, columns: number, paint: Paint): string {
  const { reference, startedMs, endedMs, layers, totals } = image;
  const name = reference === '' ? 'an image without a name' : printable(reference);
  const when = endedMs === undefined ? `${timeText(startedMs)}, in use` : timeText(startedMs);
  const refused = totals.refused === 0 ? '' : `; ${totals.refused} of ${totals.layers} layers not lazy`;
  const errors = totals.errors === 0 ? '' : `; ${totals.errors} reads failed`;
  const sums = `${when}: ${fetchedText(totals)}; ${waitedText(totals)}${refused}${errors}`;
  const head = ['LAYER', 'SIZE', 'READ', 'FETCHED', 'WAITED', 'HOW', 'WHAT'];
  const stripColumns = Math.max(minStripColumns, Math.min(stripCells, columns - rowColumns));
  const rows = table([
    head.map((text) => ({ painted: paint('quiet', text) })),
    ...layers.map((layer) => rowOf(layer, stripColumns, paint)),
  ]).split('\n');
  const lines = layers.flatMap((layer, i) => [rows[i + 1]!, ...notes(layer, columns)]);
  return ['', paint('strong', endOf(name, columns)), wrapped(sums, columns, 2), rows[0]!, ...lines, ''].join('\n');
}

function rowOf(layer: ReportedLayer, stripColumns: number, paint: Paint): Cell[] {
  const { digest, use, how } = layer;
  const word = { painted: paint(how === undefined ? 'bad' : 'good', howWord(layer)) };
  if (use === undefined) return [shorten(digest), '-', '-', '-', '-', word, ''];
  return [
    shorten(digest),
    sizeText(use.blobBytes),
    use.isWhole ? '?' : sizeText(use.readBytes),
    sizeText(fetchedBytesOf(use)),
    use.waits === 0 ? '-' : waitText(use.waitedMs),
    word,
    use.isWhole ? '' : stripText(use.strip, use.presentBytes / Math.max(1, use.contentBytes), stripColumns),
  ];
}

/** What is to be said below the row of a layer. */
function notes({ use, text, advice, how }: ReportedLayer, columns: number): string[] {
  const about = how === undefined ? [printable(text), ...(text.includes(advice) ? [] : [advice])] : [noteOf(use)];
  return about.filter((each) => each !== '').map((each) => fitted(`    ${each}`, columns));
}

/**
 * A strip as characters.
 *
 * @param presentPart how much of the layer is here, 0 to 1, if it has no strip because nothing was read
 */
export function stripText(strip: ReadStrip | undefined, presentPart: number, columns: number): string {
  if (strip === undefined) {
    const present = Math.floor(presentPart * columns);
    return '-'.repeat(present) + '.'.repeat(columns - present);
  }
  const cells = cellsOf(strip);
  return Array.from({ length: columns }, (_, column) => {
    const first = Math.floor((column * stripCells) / columns);
    const part = cells.slice(first, Math.max(first + 1, Math.floor(((column + 1) * stripCells) / columns)));
    const mean = (of: (cell: (typeof cells)[number]) => number): number =>
      part.reduce((sum, cell) => sum + of(cell), 0) / part.length;
    const read = mean((cell) => cell.read);
    if (read >= 50) return '#';
    if (read > 0) return '+';
    return mean((cell) => cell.present) > 0 ? '-' : '.';
  }).join('');
}
