import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { accepts } from './ports.ts';
import { Program, run } from './program.ts';
import { buildkitTools, pathWithTools } from './tools.ts';

/** Where buildkitd keeps and runs its snapshots. */
export type Worker =
  | { readonly kind: 'oci'; readonly snapshotter: 'overlayfs' }
  | { readonly kind: 'oci'; readonly snapshotter: 'stargz'; readonly socket: string }
  | { readonly kind: 'containerd'; readonly snapshotter: 'overlayfs' | 'stargz'; readonly address: string };

/** One build of a Dockerfile. */
export interface BuildRequest {
  /** The directory with the Dockerfile, which is also the context. */
  readonly context: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** As buildctl's --output, one or several; without it nothing is exported. */
  readonly output?: string | readonly string[];
  /** More arguments of `buildctl build`. */
  readonly args?: readonly string[];
  readonly signal?: AbortSignal;
  /** Receives every line of the plain progress. */
  readonly onLine?: (line: string) => void;
}

/** A running buildkitd. */
export interface Buildkitd extends AsyncDisposable {
  readonly address: string;
  readonly program: Program;
  build(request: BuildRequest): Promise<void>;
  /** Runs buildctl with other arguments and gives the standard output. */
  buildctl(...args: string[]): Promise<string>;
}

/** The flags that choose a worker, as one types them. */
export function workerFlags(worker: Worker): string[] {
  if (worker.kind === 'containerd') {
    return [
      '--oci-worker=false',
      '--containerd-worker=true',
      `--containerd-worker-addr=${worker.address}`,
      `--containerd-worker-snapshotter=${worker.snapshotter}`,
      '--containerd-worker-net=host',
    ];
  }
  const flags = ['--containerd-worker=false', '--oci-worker=true', `--oci-worker-snapshotter=${worker.snapshotter}`];
  if (worker.snapshotter === 'stargz') flags.push(`--oci-worker-proxy-snapshotter-path=${worker.socket}`);
  return [...flags, '--oci-worker-net=host'];
}

/**
 * Starts buildkitd with fresh or kept state in `directory`, under its own socket there; `toml` is its config file, and
 * `launcher` is what runs it.
 */
export async function startBuildkitd(
  directory: string,
  worker: Worker,
  toml = '',
  launcher: readonly string[] = [],
): Promise<Buildkitd> {
  // It mounts what it exports below TMPDIR, and leaves that there when it is killed.
  const temporary = join(directory, 'tmp');
  await mkdir(temporary, { recursive: true });
  const { buildkitd } = buildkitTools();
  const config = join(directory, 'buildkitd.toml');
  await writeFile(config, toml);
  const [command, ...args] = launcher[0] === undefined ? [buildkitd] : [launcher[0], ...launcher.slice(1), buildkitd];
  const program = new Program({
    name: 'buildkitd',
    command,
    args: [...args, '--config', config, ...stateFlags(directory), ...workerFlags(worker)],
    log: join(directory, 'buildkitd.log'),
    // An export fails if it would not compare layers by the overlays that they were written in, rather than to take
    // much longer.
    env: { PATH: pathWithTools(), TMPDIR: temporary, BUILDKIT_DEBUG_FORCE_OVERLAY_DIFF: 'true' },
  });
  return attachBuildkitd(directory, program);
}

/** The flags that put buildkitd's state and socket into `directory`. */
export function stateFlags(directory: string): string[] {
  return ['--root', join(directory, 'root'), '--addr', socketOf(directory)];
}

/** Waits until a buildkitd that was started with stateFlags, or has that socket, answers. */
export async function attachBuildkitd(directory: string, program: Program, socket?: string): Promise<Buildkitd> {
  const address = socket === undefined ? socketOf(directory) : `unix://${socket}`;
  await program.ready(() => accepts({ path: address.slice('unix://'.length) }));
  return {
    address,
    program,
    build: (request) => build(address, request),
    buildctl: (...args) => run(buildkitTools().buildctl, ['--addr', address, ...args]),
    [Symbol.asyncDispose]: () => program.stop(),
  };
}

async function build(address: string, request: BuildRequest): Promise<void> {
  const { context, buildArgs, output = [], args: more = [], ...options } = request;
  const args = ['--addr', address, 'build', '--progress=plain', '--frontend=dockerfile.v0', ...more];
  args.push('--local', `context=${context}`, '--local', `dockerfile=${context}`);
  for (const [name, value] of Object.entries(buildArgs ?? {})) args.push('--opt', `build-arg:${name}=${value}`);
  for (const each of typeof output === 'string' ? [output] : output) args.push('--output', each);
  await run(buildkitTools().buildctl, args, options);
}

function socketOf(directory: string): string {
  return `unix://${join(directory, 'bk.sock')}`;
}
