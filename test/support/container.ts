import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Program, run } from './program.ts';
import { systemTool } from './tools.ts';

/** A container that runs until it is disposed of. */
export interface Container extends AsyncDisposable {
  readonly program: Program;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** What a container is made of. */
export interface ContainerSpec {
  /** Its name, and that of its log file in `directory`. */
  readonly name: string;
  /** For its bundle. */
  readonly directory: string;
  readonly rootfs: string;
  readonly args: readonly string[];
  readonly env?: readonly string[];
  /**
   * Directories of the host that it has under the same names: with what either mounts there seen by both, or what the
   * host mounts by it too.
   */
  readonly volumes?: readonly Volume[];
}

/** A directory of the host in a container, at `target` if that is another path. */
export interface Volume {
  readonly directory: string;
  readonly propagation: 'rshared' | 'rslave' | 'rprivate';
  readonly target?: string;
}

/**
 * Runs a container as `docker run --privileged --network host --volume DIR:DIR:PROPAGATION` does: with a root,
 * processes and mounts of its own, and with all capabilities and devices.
 */
export async function startContainer(spec: ContainerSpec): Promise<Container> {
  const runc = systemTool('runc');
  const state = join(spec.directory, 'runc');
  await mkdir(state, { recursive: true });
  await run(runc, ['spec', '--bundle', spec.directory]);
  const path = join(spec.directory, 'config.json');
  const config = JSON.parse(await readFile(path, 'utf8')) as Config;
  const capabilities = await allCapabilities();
  const { process, linux } = config;
  const { volumes = [] } = spec;
  Object.assign(process, { terminal: false, args: spec.args, noNewPrivileges: false });
  process.env = [...(spec.env ?? [])];
  process.capabilities = { bounding: capabilities, effective: capabilities, permitted: capabilities };
  config.root = { path: spec.rootfs, readonly: false };
  const bind = (directory: string, propagation: string, target = directory) => ({
    destination: target,
    source: directory,
    type: 'bind',
    options: ['rbind', propagation],
  });
  config.mounts = [
    { destination: '/proc', type: 'proc', source: 'proc' },
    bind('/dev', 'rprivate'),
    bind('/sys', 'rprivate'),
    ...volumes.map(({ directory, propagation, target }) => bind(directory, propagation, target)),
  ];
  linux.namespaces = ['pid', 'mount', 'ipc', 'uts'].map((type) => ({ type }));
  // So does dockerd: what is mounted in a volume that is rshared is seen outside only when the root is shared.
  linux['rootfsPropagation'] = volumes.some(({ propagation }) => propagation === 'rshared') ? 'shared' : 'slave';
  linux.resources = { devices: [{ allow: true, access: 'rwm' }] };
  delete linux.maskedPaths;
  delete linux.readonlyPaths;
  await writeFile(path, JSON.stringify(config));
  const program = new Program({
    name: spec.name,
    command: runc,
    args: ['--root', state, 'run', '--bundle', spec.directory, spec.name],
    log: join(spec.directory, `${spec.name}.log`),
  });
  // runc passes signals on.
  const stop = (signal: NodeJS.Signals = 'SIGTERM') => program.stop(signal);
  return { program, stop, [Symbol.asyncDispose]: () => stop() };
}

/** As much of the runtime specification as is changed here. */
interface Config {
  process: Record<string, unknown>;
  root: object;
  mounts: object[];
  linux: Record<string, unknown>;
}

/** The names of all capabilities that we may have. */
async function allCapabilities(): Promise<string[]> {
  const dump = await run('setpriv', ['--dump']);
  const names = /^Capability bounding set: (\S+)$/m.exec(dump)?.[1]?.split(',') ?? [];
  return names.map((name) => `CAP_${name.toUpperCase()}`);
}
