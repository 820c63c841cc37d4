import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Buildkitd } from '../test/support/buildkitd.ts';
import { keepLogs } from '../test/support/keep-logs.ts';
import { run } from '../test/support/program.ts';
import { repository } from '../test/support/tools.ts';
import type { Workspace } from '../test/support/workspace.ts';
import type { ImageSet } from './images.ts';
import { busyPart } from './machine.ts';
import type { OpenLink } from './relay/relay-process.ts';
import type { Measurement } from './results.ts';
import type { Snapshotter } from './snapshotter.ts';
import { lazypullRoot, startBuilder, type Subject, teamRepository } from './subjects.ts';
import type { Cell, Scenario, Work } from './works/work.ts';

/** How long daemons have been up when the clock starts: they are not started for each build. */
const settleMs = 2000;

/** A scenario to be measured once. */
export interface Task {
  readonly scenario: Scenario;
  readonly subject: Subject;
  readonly link: OpenLink;
  readonly set: ImageSet;
  readonly run: number;
  wants(work: Work): boolean;
}

/** Requests by this agent are BuildKit's own; the others are the remote snapshotter's. */
const buildkitAgent = /^(buildkit|containerd)\b/i;
const lazypull = join(repository, 'bin', 'lazypull');
const clockTicksPerSecond = 100;

/**
 * Measures a task on fresh daemons, and removes everything that it left. Throws if the work failed, and if
 * BuildKit pulled what should have been lazy; the log files are in .cache/log/bench then.
 */
export async function measureTask(task: Task, workspace: Workspace, signal: AbortSignal): Promise<Measurement[]> {
  const directory = await workspace.directory('cell');
  const measurements: Measurement[] = [];
  try {
    await using stack = new AsyncDisposableStack();
    const busyBefore = await busyPart();
    if (task.subject.knows === 'trace') await importTrace(await traceOf(task, workspace, signal), directory, signal);
    if (task.subject.knows === 'index') await importIndexes(await indexesOf(task, workspace, signal), directory);
    if (task.subject.knows === 'team') await shareIndexes(task, workspace, signal);
    const snapshotter = await task.subject.startSnapshotter(directory, task.link);
    if (snapshotter !== undefined) stack.use(snapshotter);
    if (task.subject.knows === 'served') await workBefore(task, directory, snapshotter, signal);
    const buildkitd = task.scenario.onBuildkit
      ? stack.use(await startBuilder(join(directory, 'bk'), snapshotter))
      : undefined;
    await delay(settleMs, undefined, { signal });
    const measure = async (work: Work, act: () => Promise<number | void>) => {
      measurements.push(await measured(task, work, act, snapshotter, busyBefore));
    };
    await task.scenario.run(cellOf(task, directory, snapshotter, buildkitd, signal, measure));
  } catch (error) {
    if (!signal.aborted) await keepLogs(directory, 'bench');
    throw error;
  } finally {
    await rm(directory, { recursive: true, force: true });
    // What this task wrote is not to be written during the next one.
    await run('sync', []);
  }
  return measurements;
}

/** A file with the trace of the task's first work, made when it is first asked for. */
async function traceOf(task: Task, workspace: Workspace, signal: AbortSignal): Promise<string> {
  const [first] = task.scenario.works;
  const file = join(workspace.path, `${first?.id}.trace`);
  if (existsSync(file)) return file;
  const directory = await workspace.directory('record');
  {
    await using snapshotter = await task.subject.startSnapshotter(directory, task.link);
    await workBefore({ ...task, wants: ({ id }) => id === first?.id }, directory, snapshotter, signal);
  }
  await run(lazypull, ['trace', 'export', file, '--root', lazypullRoot(directory)], { signal });
  const { size } = await stat(file);
  if (size === 0) throw new Error(`lazypull kept no trace of work ${first?.id}`);
  await rm(directory, { recursive: true });
  return file;
}

/** A directory with the layer indexes of the task's images, made when it is first asked for. */
async function indexesOf(task: Task, workspace: Workspace, signal: AbortSignal): Promise<string> {
  const [first] = task.scenario.works;
  const kept = join(workspace.path, `${first?.id}.indexes`);
  if (existsSync(kept)) return kept;
  const directory = await workspace.directory('record');
  const indexes = indexPath(directory);
  {
    await using snapshotter = await task.subject.startSnapshotter(directory, task.link);
    await workBefore({ ...task, wants: ({ id }) => id === first?.id }, directory, snapshotter, signal);
    const wanted = new Set(task.set.images.flatMap(({ layers }) => layers.map(({ digest }) => digest))).size;
    const countOf = async (): Promise<number> => (await readdir(indexes).catch(() => [])).length;
    for (let tries = 0; (await countOf()) < wanted; tries++) {
      if (tries === indexTries) throw new Error(`lazypull made only ${await countOf()} of ${wanted} indexes`);
      await delay(100, undefined, { signal });
    }
  }
  await rename(indexes, kept);
  await rm(directory, { recursive: true });
  return kept;
}

const indexTries = 100;

function indexPath(directory: string): string {
  return join(lazypullRoot(directory), 'indexes');
}

/** Puts the layer indexes of the task's images into the team's repository, when they are first asked for. */
async function shareIndexes({ scenario, set, link }: Task, workspace: Workspace, signal: AbortSignal): Promise<void> {
  const done = join(workspace.path, `${scenario.works[0]?.id}.shared`);
  if (existsSync(done)) return;
  for (const { name } of set.images) {
    const image = `${link.host}/${name}`;
    await run(lazypull, ['index', image, '--push', '--repository', teamRepository(link.host)], { signal });
  }
  await writeFile(done, '');
}

/** Hands them to the lazypull that will be started in `directory`. */
async function importIndexes(indexes: string, directory: string): Promise<void> {
  await mkdir(lazypullRoot(directory), { recursive: true, mode: 0o700 });
  await cp(indexes, indexPath(directory), { recursive: true });
}

/** Hands a trace to the lazypull that will be started in `directory`. */
async function importTrace(file: string, directory: string, signal: AbortSignal): Promise<void> {
  const root = lazypullRoot(directory);
  await mkdir(root, { recursive: true, mode: 0o700 });
  await run(lazypull, ['trace', 'import', file, '--root', root], { signal });
}

/** The same work on another buildkitd, whose state is removed. */
async function workBefore(
  task: Task,
  directory: string,
  snapshotter: Snapshotter | undefined,
  signal: AbortSignal,
): Promise<void> {
  const state = join(directory, 'bk0');
  {
    await using buildkitd = await startBuilder(state, snapshotter);
    const measure = async (_: Work, work: () => Promise<number | void>) => void (await work());
    await task.scenario.run(cellOf(task, directory, snapshotter, buildkitd, signal, measure));
  }
  await rm(state, { recursive: true });
}

function cellOf(
  task: Task,
  directory: string,
  snapshotter: Snapshotter | undefined,
  buildkitd: Buildkitd | undefined,
  signal: AbortSignal,
  measure: Cell['measure'],
): Cell {
  return {
    subject: task.subject.id,
    link: task.link,
    set: task.set,
    directory,
    snapshotter,
    get buildkitd() {
      if (buildkitd === undefined) throw new Error('This scenario has no buildkitd');
      return buildkitd;
    },
    signal,
    wants: (work) => task.wants(work),
    measure,
  };
}

async function measured(
  { scenario, subject, link, set, run: number }: Task,
  work: Work,
  act: () => Promise<number | void>,
  snapshotter: Snapshotter | undefined,
  busyBefore: number,
): Promise<Measurement> {
  await link.take();
  const before = await usageOf(snapshotter);
  const started = performance.now();
  const told = await act();
  const seconds = told ?? (performance.now() - started) / 1000;
  const { connections, requests, bytesDown } = await link.take();
  const after = await usageOf(snapshotter);
  const foreign = requests.filter(({ agent }) => !buildkitAgent.test(agent));
  if (snapshotter !== undefined && scenario.onBuildkit) {
    const layers = set.images.flatMap((image) => image.layers.map(({ digest }) => digest));
    const pulled = requests.some(
      ({ method, path, agent }) =>
        method === 'GET' && buildkitAgent.test(agent) && layers.some((digest) => path.endsWith(digest)),
    );
    if (pulled) throw new Error('BuildKit pulled a layer: the snapshotter did not serve it');
  }
  const bytes = Object.entries(bytesDown);
  const sum = (entries: typeof bytes) => entries.reduce((total, [, count]) => total + count, 0);
  return {
    work: work.id,
    link: link.shape.name,
    subject: subject.id,
    run: number,
    seconds,
    connections,
    requests: requests.length,
    bytes: sum(bytes),
    snapshotterRequests: foreign.length,
    snapshotterBytes: sum(bytes.filter(([agent]) => !buildkitAgent.test(agent))),
    snapshotterCpuSeconds: after.cpuSeconds - before.cpuSeconds,
    snapshotterPeakBytes: after.peakBytes,
    busyBefore,
  };
}

/** proc_pid_stat(5) and proc_pid_status(5). */
async function usageOf(snapshotter: Snapshotter | undefined): Promise<{ cpuSeconds: number; peakBytes: number }> {
  if (snapshotter === undefined) return { cpuSeconds: 0, peakBytes: 0 };
  const { pid } = snapshotter.program;
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The second field is the name in parentheses; utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / clockTicksPerSecond,
    peakBytes: Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024,
  };
}
