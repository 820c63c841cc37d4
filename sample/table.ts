import { wrapped } from '../src/cli/screen.ts';

/** How the builds get at the base. */
export type Way = 'lazy' | 'first time' | 'second time' | 'full pull';

/** One build as it was measured. */
export interface Measurement {
  readonly way: Way;
  /** What was built, in a word or two. */
  readonly title: string;
  readonly seconds: number;
  readonly requests: number;
  readonly bytes: number;
  /** How many of the requests were lazypull's own. */
  readonly lazypullRequests: number;
}

const textColumns = 80;
const headings = ['', 'seconds', 'requests', 'by lazypull', 'fetched', 'of the image'];

/**
 * The measurements as aligned lines of text, with the total of each way; `imageBytes` is what "of the image" refers to.
 */
export function formatTable(measurements: readonly Measurement[], imageBytes: number): string {
  const ways = [...new Set(measurements.map(({ way }) => way))];
  const all = ways.flatMap((way) => {
    const own = measurements.filter((measurement) => measurement.way === way);
    return [...own, totalOf(way, own)];
  });
  const rows = all.map(({ way, title, seconds, requests, lazypullRequests, bytes }) => [
    `${way}: ${title}`,
    seconds.toFixed(1),
    String(requests),
    String(lazypullRequests),
    megabytes(bytes),
    `${((100 * bytes) / imageBytes).toFixed(1)} %`,
  ]);
  const lines = [headings, ...rows];
  const widths = headings.map((_, column) => Math.max(...lines.map((row) => row[column]?.length ?? 0)));
  return lines
    .map((row) =>
      row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))),
    )
    .map((cells) => cells.join('  ').trimEnd())
    .join('\n');
}

/** What the measurements come to, in a sentence or two. */
export function conclusion(measurements: readonly Measurement[], imageBytes: number): string {
  const of = (way: Way): Measurement[] => measurements.filter((measurement) => measurement.way === way);
  const [lazy, full] = [of('lazy'), of('full pull')];
  const fullTotal = totalOf('full pull', full);
  if (lazy.length === 0) return plainConclusion([of('first time'), of('second time'), full], imageBytes);
  const lazyTotal = totalOf('lazy', lazy);
  const [lazyBuild, fullBuild] = [lazy[0]!, full[0]!];
  const share = ((100 * lazyBuild.bytes) / imageBytes).toFixed(1);
  return wrapped(
    `Lazy, the build took ${lazyBuild.seconds.toFixed(1)} s in place of ${fullBuild.seconds.toFixed(1)} s and fetched ${share} % of the image of ${megabytes(imageBytes)}, and with an export of everything after it ${lazyTotal.seconds.toFixed(1)} s in place of ${fullTotal.seconds.toFixed(1)} s.`,
    textColumns,
  );
}

type Builds = readonly Measurement[];

function plainConclusion([first, second, full]: readonly [Builds, Builds, Builds], imageBytes: number): string {
  const [firstBuild, secondBuild, fullBuild] = [first[0]!, second[0]!, full[0]!];
  const share = ((100 * secondBuild.bytes) / imageBytes).toFixed(1);
  return wrapped(
    `The first build on the unmodified image took ${firstBuild.seconds.toFixed(1)} s in place of ${fullBuild.seconds.toFixed(1)} s of a stock pull. With the layer indexes that it made, and nothing else of the image, the next one took ${secondBuild.seconds.toFixed(1)} s and fetched ${share} % of the image of ${megabytes(imageBytes)}.`,
    textColumns,
  );
}

function totalOf(way: Way, measurements: readonly Measurement[]): Measurement {
  const sum = (of: (measurement: Measurement) => number) => measurements.reduce((total, each) => total + of(each), 0);
  return {
    way,
    title: 'total',
    seconds: sum(({ seconds }) => seconds),
    requests: sum(({ requests }) => requests),
    bytes: sum(({ bytes }) => bytes),
    lazypullRequests: sum(({ lazypullRequests }) => lazypullRequests),
  };
}

/** Bytes as decimal megabytes with one digit. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
