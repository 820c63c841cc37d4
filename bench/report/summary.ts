import { describeLink, parseLink } from '../link.ts';
import type { Measurement, Results } from '../results.ts';
import type { SubjectId } from '../subjects.ts';
import { median } from './statistics.ts';

/** What one subject needed for one work over one link: medians of the runs. */
export interface Figure {
  readonly seconds: number;
  readonly least: number;
  readonly most: number;
  readonly requests: number;
  readonly connections: number;
  readonly bytes: number;
  readonly runs: number;
}

/** One work over one link, on every subject that did it. */
export interface Row {
  readonly work: string;
  readonly title: string;
  readonly link: string;
  readonly figures: Readonly<Partial<Record<SubjectId, Figure>>>;
}

/** Works whose sum is of interest: a build, and then an export of all of it. */
const sums = [{ id: 'a+c', title: '(a), then (c): everything read', parts: ['a', 'c'] }] as const;

/** The rows of the report, work by work in the order of the results, with the sums below their last part. */
export function summarize(results: Results): Row[] {
  const rows: Row[] = [];
  for (const { id, title } of results.works) {
    rows.push(...rowsOf(results, id, title, results.measurements));
    for (const sum of sums) {
      if (sum.parts.at(-1) === id) rows.push(...rowsOf(results, sum.id, sum.title, summed(results, sum)));
    }
  }
  return rows;
}

/** How many times as long as `reference` a subject took, or undefined if one of them is not measured. */
export function ratio(row: Row, subject: SubjectId, reference: SubjectId): number | undefined {
  const seconds = row.figures[subject]?.seconds;
  const base = row.figures[reference]?.seconds;
  return seconds === undefined || base === undefined ? undefined : seconds / base;
}

function rowsOf(results: Results, work: string, title: string, measurements: readonly Measurement[]): Row[] {
  return results.links.flatMap(({ name }) => {
    const here = measurements.filter((measurement) => measurement.work === work && measurement.link === name);
    if (here.length === 0) return [];
    const figures: Partial<Record<SubjectId, Figure>> = {};
    for (const { id } of results.subjects) {
      const figure = figureOf(here.filter(({ subject }) => subject === id));
      if (figure !== undefined) figures[id] = figure;
    }
    const link = here.every(({ requests }) => requests === 0) ? 'none' : describeLink(parseLink(name));
    return [{ work, title, link, figures }];
  });
}

function figureOf(measurements: readonly Measurement[]): Figure | undefined {
  if (measurements.length === 0) return undefined;
  const seconds = measurements.map((measurement) => measurement.seconds);
  const of = (pick: (measurement: Measurement) => number) => median(measurements.map(pick));
  return {
    seconds: median(seconds),
    least: Math.min(...seconds),
    most: Math.max(...seconds),
    requests: of(({ requests }) => requests),
    connections: of(({ connections }) => connections),
    bytes: of(({ bytes }) => bytes),
    runs: measurements.length,
  };
}

/** The parts of one run added up. */
function summed({ measurements }: Results, sum: (typeof sums)[number]): Measurement[] {
  const [first, ...others] = sum.parts;
  return measurements
    .filter(({ work }) => work === first)
    .flatMap((start) => {
      const rest = others.map((part) =>
        measurements.find(
          ({ work, link, subject, run }) =>
            work === part && link === start.link && subject === start.subject && run === start.run,
        ),
      );
      const total = rest.reduce<Measurement | undefined>(
        (left, right) => (left === undefined || right === undefined ? undefined : added(left, right)),
        start,
      );
      return total === undefined ? [] : [{ ...total, work: sum.id }];
    });
}

function added(left: Measurement, right: Measurement): Measurement {
  return {
    ...left,
    seconds: left.seconds + right.seconds,
    connections: left.connections + right.connections,
    requests: left.requests + right.requests,
    bytes: left.bytes + right.bytes,
  };
}
