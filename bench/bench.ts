import type { Progress } from '../sample/progress.ts';
import { startRegistry } from '../test/support/registry-process.ts';
import type { Workspace } from '../test/support/workspace.ts';
import { calibrate } from './calibrate.ts';
import { measureTask, type Task } from './cell.ts';
import { type ImageSet, type Images, warmUp } from './images.ts';
import { describeLink, type LinkShape } from './link.ts';
import type { Options } from './options.ts';
import { type OpenLink, RelayProcess } from './relay/relay-process.ts';
import type { Results } from './results.ts';
import type { Subject } from './subjects.ts';
import { scenarios } from './works/all.ts';
import type { Scenario, Work } from './works/work.ts';

/** No work that is measured takes that long unless something hangs. */
const maxTaskMs = 20 * 60_000;

/**
 * The scenarios with a work that the options choose. A scenario's first work is done, and measured, with any of the
 * others.
 */
export function chosenScenarios({ works }: Options): Scenario[] {
  return scenarios.filter((scenario) => scenario.works.some((work) => isChosen(work, works)));
}

/**
 * Does every work `runs` times on every subject over every link, and adds what it finds to `results`. Subjects take
 * turns in the innermost loop, and each run begins with another one. A task that fails is noted and the next one
 * begins.
 * `saved` is called after each run.
 */
export async function runBenchmark(
  options: Options,
  subjects: readonly Subject[],
  images: Images,
  results: Results,
  workspace: Workspace,
  progress: Progress,
  signal: AbortSignal,
  saved: () => Promise<void>,
): Promise<void> {
  await using relay = new RelayProcess();
  await using links = new Links(relay, workspace);
  for (const { data, images: list } of Object.values(images) as ImageSet[])
    for (const image of list) await warmUp(data, image);
  for (const shape of options.links) {
    const [image] = images.base.images;
    if (image === undefined) throw new Error('There is no base image');
    const measured = await calibrate(await links.open(shape, images.base), image);
    results.links.push(measured);
    const { measuredRoundTripMs: ms, measuredMegabitsPerSecond: rate } = measured;
    progress.say(`    link ${describeLink(shape)}: found ${ms.toFixed(1)} ms, ${rate.toFixed(0)} Mbit/s`);
  }
  for (let run = 1; run <= options.runs; run++) {
    const started = performance.now();
    for (const [index, shape] of options.links.entries()) {
      for (const scenario of chosenScenarios(options)) {
        if (!scenario.overLink && index > 0) continue;
        for (const subject of rotated(subjects, run - 1)) {
          if (!scenario.subjects.includes(subject.id)) continue;
          const set = scenario.setOf(images);
          const link = await links.open(shape, set);
          const wants = (work: Work) => isChosen(work, options.works);
          const task = { scenario, subject, link, set, run, wants };
          await attempt(task, results, workspace, progress, signal);
        }
      }
    }
    await saved();
    const minutes = ((performance.now() - started) / 60_000).toFixed(1);
    progress.say(`==> run ${run} of ${options.runs} took ${minutes} minutes`);
  }
}

async function attempt(
  task: Task,
  results: Results,
  workspace: Workspace,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const { scenario, subject, link, run } = task;
  const works = scenario.works.filter((work) => task.wants(work)).map(({ id }) => id);
  const title = `run ${run}, ${describeLink(link.shape)}, ${works.join('+')}, ${subject.title}`;
  try {
    const measurements = await progress.step(title, () =>
      measureTask(task, workspace, AbortSignal.any([signal, AbortSignal.timeout(maxTaskMs)])),
    );
    results.measurements.push(...measurements);
    for (const { work, seconds, requests, connections, bytes } of measurements) {
      const traffic = `${requests} requests, ${connections} connections, ${(bytes / 1e6).toFixed(1)} MB`;
      progress.say(`    ${work}: ${seconds.toFixed(2)} s, ${traffic}`);
    }
  } catch (error) {
    signal.throwIfAborted();
    const reason = error instanceof Error ? error.message : String(error);
    results.failures.push({ works, link: link.shape.name, subject: subject.id, run, reason });
    progress.say(`    failed: ${reason}`);
  }
}

/** The links that are open, each to one of the registries. */
class Links implements AsyncDisposable {
  readonly #relay: RelayProcess;
  readonly #workspace: Workspace;
  readonly #stack = new AsyncDisposableStack();
  readonly #ports = new Map<string, number>();
  readonly #open = new Map<string, OpenLink>();

  constructor(relay: RelayProcess, workspace: Workspace) {
    this.#relay = relay;
    this.#workspace = workspace;
  }

  async open(shape: LinkShape, { data }: ImageSet): Promise<OpenLink> {
    const key = `${shape.name} ${data}`;
    const known = this.#open.get(key);
    if (known !== undefined) return known;
    let port = this.#ports.get(data);
    if (port === undefined) {
      const directory = await this.#workspace.directory(`registry-${this.#ports.size}`);
      ({ port } = this.#stack.use(await startRegistry(directory, data)));
      this.#ports.set(data, port);
    }
    const link = await this.#relay.open(shape, port);
    this.#open.set(key, link);
    return link;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

function isChosen({ id }: Work, works: readonly string[]): boolean {
  return works.includes(id) || works.includes(id.slice(0, 1));
}

function rotated<T>(items: readonly T[], by: number): T[] {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}
