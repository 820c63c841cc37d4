import { execFile } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { promisify } from 'node:util';

/** What of a machine matters to the daemon. */
export interface Machine {
  /** Effective user id. */
  uid: number;
  /** Whether /dev/fuse can be opened for reading and writing. */
  fuseDevice: boolean;
  /** Names of the file systems that the kernel has now. */
  fileSystems: ReadonlySet<string>;
}

const neededFileSystems = ['fuse', 'erofs', 'overlay'];

/** Looks at this machine, and loads the kernel modules that are missing where that is possible. */
export async function probeMachine(): Promise<Machine> {
  const first = look();
  const absent = neededFileSystems.filter((name) => !first.fileSystems.has(name));
  if (absent.length === 0 && first.fuseDevice) return first;
  for (const module of first.fuseDevice ? absent : ['fuse', ...absent]) {
    await promisify(execFile)('modprobe', [module]).catch(() => undefined);
  }
  return look();
}

/** What `machine` lacks to run the daemon, one sentence each with what to do; empty when it lacks nothing. */
export function missingFrom(machine: Machine): string[] {
  const missing: string[] = [];
  if (machine.uid !== 0) missing.push('it must run as root: start it with sudo');
  if (!machine.fuseDevice) {
    missing.push(
      '/dev/fuse cannot be opened: run "modprobe fuse", or start the container with --device /dev/fuse or --privileged',
    );
  }
  for (const name of neededFileSystems) {
    if (!machine.fileSystems.has(name)) {
      missing.push(`the kernel has no ${name} file system: run "modprobe ${name}" or use a kernel that has it`);
    }
  }
  return missing;
}

function look(): Machine {
  const lines = readFileSync('/proc/filesystems', 'utf8').split('\n');
  return {
    uid: process.geteuid?.() ?? -1,
    fuseDevice: canOpen('/dev/fuse'),
    fileSystems: new Set(lines.map((line) => line.split('\t').at(-1) ?? '')),
  };
}

function canOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
