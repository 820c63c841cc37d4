import { execFile } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { errnoOf, LazypullError } from '../errors.ts';

/** The properties of a machine that matter to the daemon. */
export interface Machine {
  /** Effective user id. */
  uid: number;
  /** Whether user ids are those of the machine; false in the user namespace of a rootless container. */
  isRealUser: boolean;
  /** Whether this process may mount file systems (CAP_SYS_ADMIN). */
  mayMount: boolean;
  /** Why /dev/fuse cannot be opened for reading and writing (`'ENOENT'`, `'EPERM'`, …); undefined if it can be. */
  fuseError: string | undefined;
  /** The file systems that the kernel has now. */
  fileSystems: ReadonlySet<string>;
  /** The results of loading the missing ones. */
  modules: ReadonlyMap<string, ModuleOutcome>;
  /** The kernel release, as uname(2) has it: `6.12.9-amd64`. */
  release: string;
}

/** Whether a kernel module was loaded, does not exist, or cannot be loaded from here, as in a container. */
export type ModuleOutcome = 'loaded' | 'missing' | 'refused';

/** Something that the daemon cannot run without. */
export interface Lack {
  readonly name: string;
  /** What is wrong. */
  readonly text: string;
  /** What to do about it. */
  readonly advice: string;
}

const neededFileSystems = ['fuse', 'erofs', 'overlay'];

/** Of capabilities(7), by bit. */
const capSysAdmin = 21n;

const modprobeTimeoutMs = 20_000;

/** Examines this machine, and loads missing kernel modules if possible. */
export async function probeMachine(): Promise<Machine> {
  const first = look(new Map());
  const absent = neededFileSystems.filter((name) => !first.fileSystems.has(name));
  if (first.uid !== 0 || (absent.length === 0 && first.fuseError === undefined)) return first;
  const modules = new Map<string, ModuleOutcome>();
  for (const module of new Set([...(first.fuseError === undefined ? [] : ['fuse']), ...absent])) {
    modules.set(module, await load(module));
  }
  return look(modules);
}

/** What `machine` lacks to run the daemon; of a user that cannot mount nothing else is said. */
export function lacksOf(machine: Machine): Lack[] {
  const user = userLack(machine);
  if (user !== undefined) return [user];
  const lacks: Lack[] = [];
  if (machine.fuseError !== undefined) lacks.push(fuseLack(machine));
  for (const name of neededFileSystems) {
    if (machine.fileSystems.has(name)) continue;
    lacks.push({ name, text: `the kernel has no ${name} file system`, advice: moduleAdvice(name, machine) });
  }
  return lacks;
}

/**
 * Makes sure that this machine has everything for `work`.
 *
 * @param work for the message: "run the daemon"
 * @throws FailedPrecondition that says what is missing and what to do
 */
export async function checkMachineFor(work: string): Promise<void> {
  const lacks = lacksOf(await probeMachine());
  if (lacks.length === 0) return;
  const text = lacks.map((lack) => `${lack.text}: ${lack.advice}`).join('; ');
  throw new LazypullError('FailedPrecondition', `Cannot ${work}: ${text}`, { hint: '' });
}

function userLack({ uid, isRealUser, mayMount }: Machine): Lack | undefined {
  const name = 'user';
  if (uid !== 0) return { name, text: `it must run as root, and this is user ${uid}`, advice: 'start it with sudo' };
  if (!isRealUser) {
    const text = 'this is root of a user namespace alone, as in a rootless container, and cannot mount EROFS';
    return { name, text, advice: 'run it as root of the machine, or in a container of a daemon that is not rootless' };
  }
  if (mayMount) return undefined;
  const text = 'this is root without CAP_SYS_ADMIN, as in a container, and cannot mount anything';
  return { name, text, advice: 'start the container with --privileged' };
}

function fuseLack(machine: Machine): Lack {
  const name = '/dev/fuse';
  const inContainer = 'in a container start it with --device /dev/fuse or --privileged';
  if (machine.fuseError === 'ENOENT' && !machine.fileSystems.has('fuse')) {
    return { name, text: '/dev/fuse is not there', advice: `${moduleAdvice('fuse', machine)}; ${inContainer}` };
  }
  return { name, text: `/dev/fuse cannot be opened: ${machine.fuseError}`, advice: inContainer };
}

function moduleAdvice(name: string, machine: Machine): string {
  if (machine.modules.get(name) === 'missing') {
    return `its module is not installed: install the package with the modules of this kernel, such as linux-modules-extra-${machine.release}, or use a kernel that has it`;
  }
  return `run "modprobe ${name}" on the machine itself, or use a kernel that has it`;
}

async function load(module: string): Promise<ModuleOutcome> {
  const said = await new Promise<string | undefined>((resolve) => {
    execFile('modprobe', [module], { timeout: modprobeTimeoutMs }, (error, _, text) =>
      resolve(error === null ? undefined : text),
    );
  });
  if (said === undefined) return 'loaded';
  return /not found/.test(said) && existsSync(`/lib/modules/${release()}`) ? 'missing' : 'refused';
}

function look(modules: ReadonlyMap<string, ModuleOutcome>): Machine {
  const lines = readFileSync('/proc/filesystems', 'utf8').split('\n');
  const capabilities = BigInt(
    `0x${/^CapEff:\s+([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`,
  );
  return {
    uid: process.geteuid?.() ?? -1,
    isRealUser: isIdentity(readFileSync('/proc/self/uid_map', 'utf8')),
    mayMount: (capabilities & (1n << capSysAdmin)) !== 0n,
    fuseError: openError('/dev/fuse'),
    fileSystems: new Set(lines.map((line) => line.split('\t').at(-1) ?? '')),
    modules,
    release: release(),
  };
}

/** Whether a uid_map (user_namespaces(7)) maps every id to the same id of the machine. */
function isIdentity(map: string): boolean {
  return /^\s*0\s+0\s+4294967295\s*$/.test(map);
}

function openError(path: string): string | undefined {
  try {
    closeSync(openSync(path, 'r+'));
    return undefined;
  } catch (error) {
    return errnoOf(error) ?? 'EIO';
  }
}
