import { parseArgs } from 'node:util';
import { defaultLinks, type LinkShape, parseLink } from './link.ts';
import { type SubjectId, subjectIds } from './subjects.ts';
import { scenarios } from './works/all.ts';

/** What to measure. */
export interface Options {
  readonly runs: number;
  /** Works by their names, or by their letters: "e" stands for "e-find" and "e-tar". */
  readonly works: readonly string[];
  readonly links: readonly LinkShape[];
  readonly subjects: readonly SubjectId[];
  readonly backgroundFill: boolean;
  /** A file of results to write the table and the picture of, instead of measuring. */
  readonly render: string | undefined;
}

const ids = scenarios.flatMap(({ works }) => works.map(({ id }) => id));
const letters = [...new Set(ids.map((id) => id.slice(0, 1)))];
const quick = { runs: '1', works: 'a,c', links: '0ms,20ms/1gbit' };
const maxRuns = 1000;

/** Reads the command line. Throws with what is wrong with it. */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      runs: { type: 'string' },
      works: { type: 'string' },
      links: { type: 'string' },
      subjects: { type: 'string' },
      background: { type: 'string', default: 'on' },
      render: { type: 'string' },
    },
  });
  const preset: Partial<typeof quick> = values.quick ? quick : {};
  const runs = Number(values.runs ?? preset.runs ?? 5);
  if (!Number.isInteger(runs) || runs < 1 || runs > maxRuns) throw new Error(`"--runs" needs a number from 1`);
  const links = values.links ?? preset.links;
  return {
    runs,
    works: chosen('works', values.works ?? preset.works, [...new Set([...letters, ...ids])], letters),
    links: links === undefined ? defaultLinks : [...new Set(links.split(','))].map(parseLink),
    subjects: chosen('subjects', values.subjects, subjectIds),
    backgroundFill: chosen('background', values.background, ['on', 'off'])[0] === 'on',
    render: values.render,
  };
}

/** The names in a comma-separated list, in the order of `known`; `all` without a list. */
function chosen<T extends string>(
  option: string,
  list: string | undefined,
  known: readonly T[],
  all: readonly T[] = known,
): T[] {
  if (list === undefined) return [...all];
  const names = list.split(',');
  const unknown = names.find((name) => !known.some((one) => one === name));
  if (unknown !== undefined) throw new Error(`Unknown "${unknown}" in "--${option}": there are ${known.join(', ')}`);
  return known.filter((name) => names.includes(name));
}
