import { cp, mkdir, rm } from 'node:fs/promises';
import { createReadStream } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Buildkitd, startBuildkitd, type Worker } from '../test/support/buildkitd.ts';
import { startContainerd } from '../test/support/containerd.ts';
import { startDaemon } from '../test/support/daemon.ts';
import { keepLogs } from '../test/support/keep-logs.ts';
import { freePort } from '../test/support/ports.ts';
import { run } from '../test/support/program.ts';
import { startRegistry } from '../test/support/registry-process.ts';
import { Relay } from '../test/support/relay.ts';
import { buildkitTools, repository } from '../test/support/tools.ts';
import { Workspace } from '../test/support/workspace.ts';
import { type BaseImage, baseName, ensureBaseImage, plainName } from './base-image.ts';
import { interruption } from './interruption.ts';
import { Progress } from './progress.ts';
import { conclusion, formatTable, type Measurement, megabytes, type Way } from './table.ts';

const sampleContext = join(repository, 'script', 'buildkit', 'sample_sgz');
const registryPort = 5000;
const lazypullAgent = /lazypull/i;

type WorkerKind = Worker['kind'];

interface Settings {
  readonly worker: WorkerKind;
  readonly base: string | undefined;
  /** Whether the builds are on the image as it is, or on the eStargz image that is made of it. */
  readonly imageKind: 'plain' | 'esgz';
  readonly keep: boolean;
}

async function main(): Promise<void> {
  const settings = parse(process.argv.slice(2));
  const progress = new Progress();
  const { signal } = interruption(progress);
  await using workspace = await Workspace.open('lazypull-sample');
  try {
    await sample(settings, workspace, progress, signal);
  } catch (error) {
    if (signal.aborted) {
      process.exitCode = 130;
      return;
    }
    const logs = await keepLogs(workspace.path, 'sample');
    process.stderr.write(`script/sample: ${error instanceof Error ? error.message : String(error)}\n`);
    process.stderr.write(`The logs are in ${logs}\n`);
    process.exitCode = 1;
  }
}

async function sample(
  settings: Settings,
  workspace: Workspace,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const base = await ensureBaseImage(settings.base, workspace, progress, signal, settings.imageKind);
  signal.throwIfAborted();
  const port = await freePort(registryPort);
  if (port !== registryPort) progress.say(`Port ${registryPort} is in use: the registry listens on port ${port}`);
  await using registry = await startRegistry(await workspace.directory('registry'), base.data);
  await using relay = await Relay.start(registry.port, port);
  const { manifest, bytes } = base;
  await warm(base);
  const measurements: Measurement[] = [];
  for (const way of waysOf[settings.imageKind]) {
    measurements.push(...(await builds(way, relay, settings, workspace, progress, signal)));
  }
  const { length } = manifest.layers;
  progress.say(`\nThe base image has ${megabytes(bytes)} in ${length} ${length === 1 ? 'layer' : 'layers'}.\n`);
  progress.say(formatTable(measurements, bytes));
  progress.say(`\n${conclusion(measurements, bytes)}`);
  if (settings.keep) await keepRunning(relay, settings, workspace, progress, signal);
}

/** In the order in which they are measured: the second time has the indexes of the first. */
const waysOf: Readonly<Record<Settings['imageKind'], readonly Way[]>> = {
  esgz: ['lazy', 'full pull'],
  plain: ['first time', 'second time', 'full pull'],
};

/** Where a way has its state, below the workspace. */
const directoryOf: Readonly<Record<Way, string>> = {
  lazy: 'lazy',
  'first time': 'first',
  'second time': 'second',
  'full pull': 'full',
};

/** Builds without exporting, then with a tar export, on fresh daemons. */
async function builds(
  way: Way,
  relay: Relay,
  settings: Settings,
  workspace: Workspace,
  progress: Progress,
  signal: AbortSignal,
): Promise<Measurement[]> {
  await using stack = new AsyncDisposableStack();
  const directory = await workspace.directory(directoryOf[way]);
  if (way === 'second time') await takeIndexes(join(workspace.path, directoryOf['first time']), directory);
  const buildkitd = await startDaemons(way, directory, settings.worker, stack);
  const reference = `${relay.host}/${nameOf(settings)}`;
  const measured = async (title: string, output?: string): Promise<Measurement> => {
    signal.throwIfAborted();
    const before = relay.traffic();
    const lazypullBefore = relay.traffic(lazypullAgent);
    const started = performance.now();
    await progress.step(`${way}: ${title}`, async (detail) => {
      const buildArgs = { BASE: reference };
      const request = { context: sampleContext, buildArgs, signal, onLine: detail };
      await buildkitd.build(output === undefined ? request : { ...request, output });
    });
    const seconds = (performance.now() - started) / 1000;
    const after = relay.traffic();
    return {
      way,
      title,
      seconds,
      requests: after.requests - before.requests,
      bytes: after.bytes - before.bytes,
      lazypullRequests: relay.traffic(lazypullAgent).requests - lazypullBefore.requests,
    };
  };
  const tar = join(directory, 'sample.tar');
  const build = await measured('build');
  if (way !== 'full pull' && build.lazypullRequests === 0) {
    throw new Error('The base image was left to BuildKit: lazypull served nothing of it, and its log says why');
  }
  const exported = await measured('tar export', `type=tar,dest=${tar}`);
  const hello = await run('tar', ['-xf', tar, 'hello.txt', '-O']);
  progress.say(`    hello.txt in the exported tar: ${hello.trimEnd()}`);
  await rm(tar);
  return [build, exported];
}

/** Takes what the lazypull in one directory has made of layer indexes to another one, which has not started yet. */
async function takeIndexes(from: string, to: string): Promise<void> {
  const pathIn = (directory: string): string => join(directory, 'lp', 'root', 'indexes');
  await mkdir(dirname(pathIn(to)), { recursive: true, mode: 0o700 });
  await cp(pathIn(from), pathIn(to), { recursive: true });
}

function nameOf({ imageKind }: Settings): string {
  return imageKind === 'plain' ? plainName : baseName;
}

async function startDaemons(
  way: Way,
  directory: string,
  kind: WorkerKind,
  stack: AsyncDisposableStack,
): Promise<Buildkitd> {
  const lazypull = way !== 'full pull' ? stack.use(await startDaemon(join(directory, 'lp'))) : undefined;
  let worker: Worker;
  if (kind === 'containerd') {
    const containerd = stack.use(await startContainerd(join(directory, 'cd'), lazypull?.socket));
    worker = { kind, snapshotter: lazypull === undefined ? 'overlayfs' : 'stargz', address: containerd.address };
  } else if (lazypull === undefined) {
    worker = { kind, snapshotter: 'overlayfs' };
  } else {
    worker = { kind, snapshotter: 'stargz', socket: lazypull.socket };
  }
  return stack.use(await startBuildkitd(join(directory, 'bk'), worker));
}

/** Reads the image's blobs once, so that the first of the two runs does not pay for a cold disk below the registry. */
async function warm({ data, manifest }: BaseImage): Promise<void> {
  for (const { digest } of manifest.layers) {
    const hex = digest.slice('sha256:'.length);
    const path = join(data, 'docker', 'registry', 'v2', 'blobs', 'sha256', hex.slice(0, 2), hex, 'data');
    for await (const _ of createReadStream(path, { highWaterMark: 1024 * 1024 }));
  }
}

async function keepRunning(
  relay: Relay,
  settings: Settings,
  workspace: Workspace,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const buildkitd = await startDaemons('lazy', await workspace.directory('keep'), settings.worker, stack);
  progress.say(`
lazypull, buildkitd and the registry run until ctrl-C. Build with:
  ${buildkitTools().buildctl} --addr ${buildkitd.address} build --progress=plain --frontend=dockerfile.v0 \\
    --local context=${sampleContext} --local dockerfile=${sampleContext} \\
    --opt build-arg:BASE=${relay.host}/${nameOf(settings)}
Logs and state are in ${workspace.path}`);
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

function parse(args: string[]): Settings {
  try {
    const { values } = parseArgs({
      args,
      options: {
        worker: { type: 'string', default: 'oci' },
        base: { type: 'string' },
        'image-kind': { type: 'string', default: 'esgz' },
        keep: { type: 'boolean', default: false },
      },
    });
    if (values.worker !== 'oci' && values.worker !== 'containerd') throw new Error(`Unknown worker "${values.worker}"`);
    const imageKind = values['image-kind'];
    if (imageKind !== 'plain' && imageKind !== 'esgz') throw new Error(`Unknown image kind "${imageKind}"`);
    return { worker: values.worker, base: values.base, imageKind, keep: values.keep };
  } catch (error) {
    process.stderr.write(
      `script/sample: ${error instanceof Error ? error.message : String(error)}; see script/sample --help\n`,
    );
    process.exit(2);
  }
}

await main();
