import type { FullStatus } from '../status/outcomes.ts';
import type { DaemonStatus, MountedLayer } from '../status/status.ts';
import { type Paint, plain } from '../util/colour.ts';
import { printable } from '../util/printable.ts';
import { bar, type Cell, shorten, sizeText, table } from './value-text.ts';
import { originLines } from './origin-lines.ts';
import { chopped, displayWidth, endOf, wrapped } from './screen.ts';

/** How a status is shown. */
export interface View {
  /** Time in milliseconds since 1970. */
  readonly nowMs: number;
  /** Maximum columns of a line; undefined for any number. */
  readonly columns?: number | undefined;
  /** Maximum lines in all; undefined for any number. */
  readonly lines?: number | undefined;
  readonly paint?: Paint;
}

/** Prose is no wider. */
const maxTextColumns = 80;

/**
 * At least so much of each image's name is shown before further columns are: the whole name without registry and
 * directories, if it fits.
 */
const maxNameColumns = 30;

/** The width of any rate, so that the columns behind it stay in place while it changes. */
const rateColumns = '999.9 MB/s'.length;

/** A terminal with fewer has short headings. */
const narrowColumns = 72;

/** A column of the table. The first ones are always shown, the others only if there is room. */
interface Column {
  readonly head: string;
  /** A shorter heading for little room. */
  readonly short?: string;
  readonly cell: (layer: MountedLayer) => Cell;
}

/** A status for people, of the daemon at the socket `address`. */
export function statusText(status: FullStatus, address: string, view: View): string {
  const { layers, clients, cache, mirror, problems, version, startedMs } = status;
  const { nowMs, columns, lines, paint = plain } = view;
  const kept = `${sizeText(cache.bytes)} on disk in ${countText(cache.layers, 'layer')}`;
  const head = [
    { text: `lazypull ${version} at ${printable(address)}` },
    {
      text: `up ${duration(nowMs - startedMs)}, ${countText(layers.filter(({ pulling }) => pulling !== true).length, 'layer')} mounted, ${kept}`,
    },
    ...problems.map((problem) => ({ text: `PROBLEM: ${printable(problem)}`, isBad: true })),
    ...clientLines(clients),
    ...mirrorLines(mirror),
  ];
  const width = columns === undefined ? Infinity : Math.min(columns, maxTextColumns);
  const top = head.map(({ text, isBad }: Line) => {
    const prose = chopped(wrapped(text, width, 2), columns);
    return `${isBad === true ? paint('bad', prose) : prose}\n`;
  });
  const above = top.join('');
  const room = lines === undefined ? layers.length : Math.max(1, lines - above.split('\n').length);
  const shown = room < layers.length ? [...layers].sort(busiestFirst).slice(0, room - 1) : layers;
  const rest = layers.length - shown.length;
  const mounts =
    layers.length === 0
      ? ''
      : layerTable(shown, view, clients.length > 1) + (rest === 0 ? '' : `and ${countText(rest, 'layer')} more\n`);
  const text = above + mounts;
  const left = lines === undefined ? undefined : lines - text.split('\n').length;
  const origins = originLines(status, left).map((line) => {
    const chopping = chopped(line, columns);
    return left === undefined ? chopping : chopping.split('\n', 1)[0];
  });
  return text + origins.map((line) => `${line}\n`).join('');
}

/**
 * A row for each layer: its digest, how much of it is here, its activity, and last its image, as much of the name as
 * fits.
 */
function layerTable(
  layers: readonly MountedLayer[],
  { columns, nowMs, paint = plain }: View,
  isShared: boolean,
): string {
  const images = layers.map(({ references }) => imageName(references[0] ?? ''));
  const imageColumns = Math.max('IMAGE'.length, ...images.map(displayWidth));
  const lastParts = Math.max('IMAGE'.length, ...images.map(lastPartColumns));
  const wanted = imageColumns <= maxNameColumns ? imageColumns : Math.min(maxNameColumns, 1 + lastParts);
  const withBar = (width: number): Column[] => [
    { head: 'LAYER', cell: ({ digest }) => shorten(digest) },
    { head: 'HERE', cell: (layer) => ({ painted: hereText(layer, width, paint) }) },
    { head: 'RATE', cell: ({ bytesPerSecond }) => `${sizeText(bytesPerSecond)}/s`.padEnd(rateColumns) },
    { head: 'WAITING', short: 'WAIT', cell: ({ waiting }) => toned(waiting, 'warning', paint) },
  ];
  const errors: Column = { head: 'ERRORS', short: 'ERRS', cell: (layer) => toned(layer.errors, 'bad', paint) };
  const more: Column[] = [
    { head: 'SIZE', cell: ({ contentBytes }) => sizeText(contentBytes) },
    { head: 'SINCE', cell: ({ mountedMs }) => duration(nowMs - mountedMs) },
    ...(isShared ? [{ head: 'CLIENTS', cell: (layer: MountedLayer) => layer.clients.join(',') }] : []),
  ];
  const hasErrors = layers.some((layer) => layer.errors > 0);
  if (!hasErrors) more.push(errors);
  const isNarrow = (columns ?? Infinity) < narrowColumns;
  const headOf = ({ head, short = head }: Column) => (isNarrow ? short : head);
  const fits = (chosen: readonly Column[], image: number) =>
    tableWidth(layers, chosen, headOf) + 2 + image <= (columns ?? Infinity);
  let chosen = [...withBar(4), ...(hasErrors ? [errors] : [])];
  for (const column of more) if (fits([...chosen, column], wanted)) chosen.push(column);
  for (const [width, image] of [
    [6, wanted],
    [10, imageColumns],
    [20, imageColumns],
  ] as const) {
    const wider = [...withBar(width), ...chosen.slice(4)];
    if (fits(wider, image)) chosen = wider;
  }
  const room = columns === undefined ? imageColumns : Math.max(1, columns - tableWidth(layers, chosen, headOf) - 2);
  const head = [...chosen.map(headOf), 'IMAGE'].map((text) => ({ painted: paint('quiet', text) }));
  const rows = layers.map((layer, i) => [...chosen.map(({ cell }) => cell(layer)), endOf(images[i] ?? '', room)]);
  return table([head, ...rows]);
}

function tableWidth(
  layers: readonly MountedLayer[],
  columns: readonly Column[],
  headOf: (column: Column) => string,
): number {
  const widths = columns.map((column) => {
    const texts = layers.map(column.cell).map((text) => (typeof text === 'string' ? printable(text) : text.painted));
    return Math.max(displayWidth(headOf(column)), ...texts.map(displayWidth));
  });
  return widths.reduce((sum, width) => sum + width, 2 * (widths.length - 1));
}

/** The name of an image without its registry's digest, which means nothing to people: `registry.example/app:1`. */
function imageName(reference: string): string {
  return printable(reference.replace(/@[a-z0-9]+:[0-9a-fA-F]{32,}$/, ''));
}

function lastPartColumns(image: string): number {
  return displayWidth(image.slice(image.lastIndexOf('/') + 1));
}

function hereText({ contentBytes, presentBytes, pulling }: MountedLayer, width: number, paint: Paint): string {
  const part = contentBytes === 0 ? (pulling ? 0 : 1) : presentBytes / contentBytes;
  const text = `${bar(part, width)} ${String(Math.floor(part * 100)).padStart(3)}%`;
  if (pulling) return `${text} pulling`;
  return part >= 1 ? paint('good', text) : text;
}

function toned(count: number, tone: 'warning' | 'bad', paint: Paint): Cell {
  return count === 0 ? '0' : { painted: paint(tone, String(count)) };
}

/** Layers with waiting readers come first, then those that are fetched fastest. */
function busiestFirst(a: MountedLayer, b: MountedLayer): number {
  return b.waiting - a.waiting || b.bytesPerSecond - a.bytesPerSecond;
}

interface Line {
  readonly text: string;
  readonly isBad?: boolean;
}

/** A line for each client if there are several, and one more for each process that was refused. */
function clientLines(clients: DaemonStatus['clients']): Line[] {
  return clients.flatMap(({ name, address, process, refused }) => {
    const who = process === undefined ? 'nobody yet' : `${printable(process.command)}, process ${process.pid}`;
    const what = clients.length > 1 ? [{ text: `client ${name} at ${printable(address)}: ${who}` }] : [];
    if (refused === undefined) return what;
    const text = `REFUSED at ${printable(address)}: ${printable(refused.command)}, process ${refused.pid}, because it is the socket of ${who}; give it one of its own`;
    return [...what, { text, isBad: true }];
  });
}

function mirrorLines(mirror: DaemonStatus['mirror']): Line[] {
  if (mirror === undefined) return [];
  const { address, blobs, bytes } = mirror;
  return [{ text: `mirror at ${printable(address)}: ${sizeText(bytes)} on disk in ${countText(blobs, 'blob')}` }];
}

function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** `3d 4h`, `4h 5m`, `5m 6s` or `6s`. */
function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ] as const;
  const first = parts.findIndex(([value]) => value > 0);
  const shown = first < 0 ? parts.slice(-1) : parts.slice(first, first + 2);
  return shown.map(([value, unit]) => `${value}${unit}`).join(' ');
}
