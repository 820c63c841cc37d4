import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { keepersBelow, mountsBelow } from '../support/workspace.ts';
import type { Actors } from './operations.ts';
import { residentMb, type World } from './world.ts';
import { until } from '../support/until.ts';

const releaseMs = 120_000;
/** After that long without a build, buildkitd gives back nothing more by itself. */
const settleMs = 10_000;

/** Descriptors that come and go: connections of clients and to registries, log, timers. */
const spareDescriptors = 24;

/** What the daemon holds when nothing is used. */
export interface Held {
  readonly descriptors: number;
  readonly memoryMb: number;
}

/** What may be left below the root when a daemon has ended that has nothing in its cache. */
const rootFiles =
  /^(lock|lock\.next|helper\.lock|(clients\/reader\/)?snapshotter\/(client\.json|snapshots\.db(-wal|-shm|-generation)?)|traces\/.*|uses\.json)$/;

/** What is still there although it is not needed any more. */
interface Left {
  /** What buildkitd has in its cache, and uses as it says itself. */
  readonly used: readonly string[];
  /** What it has beside that. */
  readonly records: readonly string[];
  readonly snapshots: readonly string[];
  readonly layers: readonly string[];
  readonly mounts: readonly string[];
}

/**
 * Has everybody give back everything, and waits until the daemon has done so too. Throws with what is left.
 *
 * Of steps of a build that fail at one time BuildKit reports one, and uses the records of the others until Go collects
 * the garbage: so it does with overlayfs. When nothing but such records keeps snapshots, buildkitd is ended and started
 * again, and then nothing may be left.
 */
export async function releaseAll(actors: Actors): Promise<Held> {
  const { world, reader } = actors;
  for (const app of world.apps) await reader.release(app);
  await reader.forgetMounts();
  let left = await leftAfter(actors, isUsed);
  if (isUsed(left)) {
    await world.buildkitd.program.stop();
    await world.startBuildkitd();
    left = await leftAfter(actors, isNothing);
  }
  if (!isNothing(left)) {
    throw new Error(`After everything was released there is still ${JSON.stringify(left, undefined, 1)}`);
  }
  return heldBy(world);
}

/** Releases until nothing is left, or for a while only what is `expected`, or the time is over. */
async function leftAfter({ world, builder }: Actors, expected: (left: Left) => boolean): Promise<Left> {
  const begun = Date.now();
  for (; ; await delay(500)) {
    await builder.releaseAll();
    await world.lazypull('cache', 'prune');
    const left = await leftIn(world);
    const waited = Date.now() - begun;
    if (isNothing(left) || waited > releaseMs || (waited > settleMs && expected(left))) return left;
  }
}

/** Compares what the daemon holds with what it held at first, ends it, and looks for what it leaves. */
export async function checkLeaks(world: World, before: Held): Promise<Held> {
  const { daemon } = world;
  let open: readonly string[] = [];
  const after = await until(
    async () => {
      const held = await heldBy(world);
      if (held.descriptors <= before.descriptors + spareDescriptors) return held;
      open = await descriptorsOf(daemon.program.pid);
      return undefined;
    },
    () => `${open.length} descriptors, ${before.descriptors} at first: ${open.join(' ')}`,
  );
  assert.equal((await keepersBelow(world.workspace.path)).length, 1, 'there is one keeper');
  await world.buildkitd.program.stop();
  await daemon.program.stop('SIGTERM');
  assert.equal(daemon.program.outcome, 'ended with status 0');
  // A buildkitd that was killed leaves what it had mounted for an export below its TMPDIR, and for steps where its
  // executor is.
  const left = (await mountsBelow(world.workspace.path)).filter(
    (path) => !/\/bk\/(tmp|root\/runc-[^/]+\/executor)\//.test(path),
  );
  assert.deepEqual(left, [], 'something is still mounted');
  assert.deepEqual(await keepersBelow(world.workspace.path), [], 'a keeper is left');
  for (const socket of [daemon.socket, world.readerSocket]) assert.ok(!existsSync(socket), `${socket} is left`);
  const files = await filesBelow(daemon.root);
  assert.deepEqual(
    files.filter((path) => !rootFiles.test(path)),
    [],
    'files are left in the root',
  );
  assert.deepEqual(await programsOf(world.workspace.path), [], 'programs are left');
  return after;
}

async function leftIn({ daemon, buildkitd }: World): Promise<Left> {
  const format = '{{range .}}{{.InUse}} {{.ID}} {{.Description}}\n{{end}}';
  const records = (await buildkitd.buildctl('du', '--format', format)).split('\n').filter((line) => line.trim() !== '');
  const snapshots = ['snapshotter/snapshots', 'clients/reader/snapshotter/snapshots'];
  const names = snapshots.map(async (path) =>
    (await readdir(join(daemon.root, path))).map((name) => `${path}/${name}`),
  );
  return {
    used: records.filter((line) => line.startsWith('true ')),
    records: records.filter((line) => !line.startsWith('true ')),
    snapshots: (await Promise.all(names)).flat(),
    layers: (await filesBelow(join(daemon.root, 'layers'))).slice(0, 20),
    mounts: await mountsBelow(daemon.root),
  };
}

/** Whether it is what buildkitd uses that keeps everything else. */
function isUsed({ used, records }: Left): boolean {
  return used.length > 0 && records.length === 0;
}

function isNothing(left: Left): boolean {
  return Object.values(left).every((each: readonly unknown[]) => each.length === 0);
}

export async function heldBy({ daemon }: World): Promise<Held> {
  const { pid } = daemon.program;
  return { descriptors: (await readdir(`/proc/${pid}/fd`)).length, memoryMb: Math.round(await residentMb(pid)) };
}

async function descriptorsOf(pid: number): Promise<string[]> {
  const names = await readdir(`/proc/${pid}/fd`);
  return Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '?')));
}

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
}

/** The command lines of programs that have to do with a directory, but ours. */
async function programsOf(directory: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return lines.filter((line) => line.includes(`${directory}/`)).map((line) => line.replaceAll('\0', ' '));
}
