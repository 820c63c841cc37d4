/**
 * Builds, exports, reads, prunes and evicts at random while the daemon is killed and the registry misbehaves, and looks
 * at what was read and what is left: `npm run soak -- [--minutes N] [--seed N]`. The seed decides what is done in which
 * round; how things meet in time is up to the machine.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { inspect, parseArgs } from 'node:util';
import { Random } from '../fuzz/random.ts';
import { Builder, exportTypes } from './builder.ts';
import { type Disturbance, isExcused, isLeftToClient, isLostCall } from './excuse.ts';
import { checkLeaks, heldBy, releaseAll } from './leaks.ts';
import { type Actors, choose, faults, type Operation, strokes, work } from './operations.ts';
import { Reader } from './reader.ts';
import { type App, World } from './world.ts';
import { retried } from '../support/until.ts';

/** Longer than any of the time-outs that an operation may run into, one after the other. */
const maxOperationMs = 240_000;
/** After that long a client has connected again, and layers that were away have been mounted. */
const maxHealMs = 30_000;
const maxCleanUpMs = 60_000;
/** Rounds without disturbance: everything must work in them. */
const calmEvery = 8;
const maxMemoryMb = 600;
const maxLanes = 3;
const maxInLane = 5;

const { values } = parseArgs({ options: { minutes: { type: 'string' }, seed: { type: 'string' } } });
const minutes = Number(values.minutes ?? 3);
const seed = Number(values.seed ?? process.env['LAZYPULL_SEED'] ?? randomInt(2 ** 31));
const started = performance.now();
const say = (text: string) =>
  process.stdout.write(`soak ${((performance.now() - started) / 1000).toFixed(1)} s: ${text}\n`);

const counts = new Map<string, number>();
let excused = 0;
let peakMb = 0;

say(`${minutes} minutes, seed ${seed}`);
let world: World | undefined;
let watch: MountWatch | undefined;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => void world?.[Symbol.asyncDispose]().finally(() => process.exit(1)));
}
try {
  world = await World.open();
  watch = watchMounts(world.workspace.path);
  if (world.group === undefined) say('no control group can be made here: no daemon has little memory');
  await soak({ world, reader: new Reader(world), builder: await Builder.open(world) });
} catch (error) {
  say(`FAILED: ${inspect(error)}`);
  if (world !== undefined) say(`the logs are in ${await world.keepLogs()}`);
  say(`repeat it with: npm run soak -- --minutes ${minutes} --seed ${seed}`);
  process.exitCode = 1;
  setTimeout(() => process.exit(), maxCleanUpMs).unref(); // what hangs can be in the way of that
} finally {
  watch?.stop();
  await world?.[Symbol.asyncDispose]();
}

async function soak(actors: Actors): Promise<void> {
  const { world } = actors;
  await checkCalm(actors, new Random(seed, 0, 0));
  const before = await releaseAll(actors);
  say(`ready: ${before.descriptors} descriptors, ${before.memoryMb} MB`);
  const end = performance.now() + minutes * 60_000;
  for (let round = 1; performance.now() < end; round++) {
    if (round % calmEvery === 0) await checkCalm(actors, new Random(seed, round, 0));
    else await playRound(actors, round);
    world.registry.forgetFaults();
    world.registry.resetCounts();
    const { memoryMb } = await heldBy(world);
    peakMb = Math.max(peakMb, memoryMb);
    if (memoryMb > maxMemoryMb) throw new Error(`The daemon takes ${memoryMb} MB`);
    if (((await world.group?.kills()) ?? 0) > 0) throw new Error('The kernel has killed a daemon with little memory');
    watch?.check();
  }
  await checkCalm(actors, new Random(seed, 0, 1));
  for (const type of exportTypes) await actors.builder.export(type);
  await releaseAll(actors);
  const after = await checkLeaks(world, before);
  checkLog(world);
  watch?.check();
  const done = [...counts].map(([name, count]) => `${name} ${count}`).sort();
  say(`done, and all is well: ${done.join(', ')}; ${excused} failed as they may`);
  say(`at the end ${after.descriptors} descriptors, ${after.memoryMb} MB, ${peakMb} MB at most; seed ${seed}`);
}

/** Does things in some lanes at one time, chosen by seed and round, and judges how they end. */
async function playRound(actors: Actors, round: number): Promise<void> {
  const random = new Random(seed, round, 0);
  const count = 1 + random.below(maxLanes);
  const lanes = Array.from({ length: count }, () =>
    Array.from({ length: 1 + random.below(maxInLane) }, () => choose(work, random)),
  );
  if (random.below(3) > 0) lanes.push([choose(strokes, random)]);
  if (random.below(2) === 0) lanes.push([choose(faults, random)]);
  const disturbances = new Set(lanes.flat().flatMap(({ disturbs }) => disturbs ?? []));
  const apps = shuffled(actors.world.apps, random);
  const results = lanes.map(async (operations, lane) => {
    const own = apps.filter((_, i) => i % count === lane);
    const done: string[] = [];
    for (const [i, operation] of operations.entries()) {
      done.push(await play(actors, operation, new Random(seed, round, 1 + lane * maxInLane + i), own, disturbances));
    }
    return done.join(', ');
  });
  say(`round ${round}: ${(await Promise.all(results)).join('; ')}`);
}

async function play(
  actors: Actors,
  operation: Operation,
  random: Random,
  apps: readonly App[],
  disturbances: ReadonlySet<Disturbance>,
): Promise<string> {
  const begun = performance.now();
  counts.set(operation.name, (counts.get(operation.name) ?? 0) + 1);
  const attempt = () => bounded(operation.name, () => operation.run(actors, random, apps, disturbances));
  const isOurs = operation.disturbs !== undefined; // what a stroke or the registry does itself does not fail
  try {
    const what = await attempt().catch((error: unknown) => {
      // The daemon or the registry was away before: clients, and the daemon, find them again after a pause.
      if (isOurs || isExcused(error, disturbances) || !isLate(error)) throw error;
      return healed(attempt);
    });
    return `${what} (${((performance.now() - begun) / 1000).toFixed(1)} s)`;
  } catch (error) {
    if (!isOurs && isExcused(error, disturbances)) {
      excused++;
      return `${operation.name} failed as it may: ${shortened(String(error))}`;
    }
    throw new Error(`"${operation.name}" failed beside ${[...disturbances].join(', ') || 'nothing'}`, { cause: error });
  }
}

/**
 * With nothing in the way everything works, after a moment in which clients find what they have lost, and the daemon
 * that the registry answers again.
 */
async function checkCalm({ world, reader, builder }: Actors, random: Random): Promise<void> {
  for (const app of world.apps) {
    await bounded('heal', () => healed(() => reader.readAll(app)));
    await bounded('heal', () => healed(() => builder.read(app, random.pick(world.apps), random, 5)));
  }
  await world.lazypull('cache', 'verify');
  counts.set('calm', (counts.get('calm') ?? 0) + 1);
  say(`calm: all images are right; ${(await heldBy(world)).memoryMb} MB`);
}

function healed<T>(action: () => Promise<T>): Promise<T> {
  return retried(action, isLate, maxHealMs);
}

/** Whether an error may come of what was in the way before. */
function isLate(error: unknown): boolean {
  return isLostCall(error) || isLeftToClient(error);
}

async function bounded<T>(name: string, action: () => Promise<T>): Promise<T> {
  const timer = new AbortController();
  const late = delay(maxOperationMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`"${name}" does not end in ${maxOperationMs / 1000} s`);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([action(), late]);
  } finally {
    timer.abort();
  }
}

interface MountWatch {
  /** Throws once a file system has not answered in time. */
  check(): void;
  stop(): void;
}

/** Has a process of its own ask for the size of all file systems below a directory, all the time. */
function watchMounts(directory: string): MountWatch {
  const program = fileURLToPath(new URL('watch-mounts.ts', import.meta.url));
  const child = spawn(process.execPath, [program, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (part: Buffer) => (text += part.toString()));
  return {
    check() {
      // It cannot end while a thread of it waits.
      if (text !== '' || child.exitCode !== null)
        throw new Error(`df would wait: ${text.trim() || 'nobody asks any more'}`);
    },
    stop: () => void child.kill('SIGKILL'),
  };
}

/** What the daemon says when something went wrong in itself. */
function checkLog({ daemon }: World): void {
  const lines = daemon.log().filter(({ level }) => level === 'fatal');
  if (lines.length > 0) throw new Error(`The daemon's log has ${JSON.stringify(lines.slice(0, 5))}`);
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  return items
    .map((item) => ({ item, at: random.next() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item); // prettier-ignore
}

function shortened(text: string): string {
  const line =
    text
      .split('\n')
      .filter((each) => each.trim() !== '')
      .at(-1) ?? ''; // prettier-ignore
  return line.length > 200 ? `${line.slice(0, 200)}…` : line;
}
