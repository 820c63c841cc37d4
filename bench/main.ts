import { readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { interruption } from '../sample/interruption.ts';
import { Progress } from '../sample/progress.ts';
import { repository } from '../test/support/tools.ts';
import { Workspace } from '../test/support/workspace.ts';
import { chosenScenarios, runBenchmark } from './bench.ts';
import { ensureImages, type Images } from './images.ts';
import { describeMachine } from './machine.ts';
import { type Options, parseOptions } from './options.ts';
import { formatMarkdown } from './report/markdown.ts';
import { formatPicture } from './report/picture.ts';
import { type Results, writeResults } from './results.ts';
import { findStargz } from './stargz.ts';
import { availableSubjects, type Subject } from './subjects.ts';

const resultsDirectory = join(repository, 'bench', 'results');

async function main(): Promise<void> {
  const options = parse(process.argv.slice(2));
  if (options.render !== undefined) {
    await report(JSON.parse(await readFile(options.render, 'utf8')) as Results, options.render.replace(/\.json$/, ''));
    return;
  }
  const progress = new Progress();
  const { signal } = interruption(progress);
  await using workspace = await Workspace.open('lp-bench');
  try {
    await bench(options, workspace, progress, signal);
  } catch (error) {
    if (signal.aborted) {
      process.exitCode = 130;
      return;
    }
    process.stderr.write(`script/bench: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}

async function bench(options: Options, workspace: Workspace, progress: Progress, signal: AbortSignal): Promise<void> {
  const stargz = options.subjects.includes('stargz') ? await findStargz() : undefined;
  if (options.subjects.includes('stargz') && stargz === undefined)
    progress.say('There is no containerd-stargz-grpc in PATH or BENCH_STARGZ: lazypull is not compared with it');
  const subjects = availableSubjects(stargz, options.backgroundFill).filter(({ id }) => options.subjects.includes(id));
  const images = await ensureImages(workspace, progress, signal);
  const results = await emptyResults(options, subjects, images, workspace, stargz);
  const path = join(resultsDirectory, results.date.replace(/\..*$/, '').replaceAll(':', ''));
  const save = () => report(results, path);
  try {
    await runBenchmark(options, subjects, images, results, workspace, progress, signal, save);
    results.complete = true;
  } finally {
    if (results.measurements.length > 0) {
      await save();
      progress.say(`\nThe results are in ${path}.json, .md and .svg`);
    }
  }
  progress.say(`\n${formatMarkdown(results, `${basename(path)}.svg`)}`);
  if (results.failures.length > 0) process.exitCode = 1;
}

async function emptyResults(
  options: Options,
  subjects: readonly Subject[],
  images: Images,
  workspace: Workspace,
  stargz: string | undefined,
): Promise<Results> {
  const [base] = images.base.images;
  if (base === undefined) throw new Error('There is no base image');
  return {
    format: 1,
    date: new Date().toISOString(),
    complete: false,
    runs: options.runs,
    backgroundFill: options.backgroundFill,
    machine: await describeMachine(workspace.path, stargz),
    image: { name: base.name, bytes: base.bytes, layers: base.layers.length },
    works: chosenScenarios(options).flatMap(({ works }) => works),
    subjects: subjects.map(({ id, title, explanation }) => ({ id, title, explanation })),
    links: [],
    measurements: [],
    failures: [],
  };
}

/** Writes the results, the table and the picture beside each other. */
async function report(results: Results, path: string): Promise<void> {
  await writeResults(`${path}.json`, results);
  await writeFile(`${path}.md`, formatMarkdown(results, `${basename(path)}.svg`));
  await writeFile(`${path}.svg`, formatPicture(results));
}

function parse(args: string[]): Options {
  try {
    return parseOptions(args);
  } catch (error) {
    process.stderr.write(
      `script/bench: ${error instanceof Error ? error.message : String(error)}; see script/bench --help\n`,
    );
    process.exit(2);
  }
}

await main();
