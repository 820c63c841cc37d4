import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { debianSuite, makeDebian } from './debian.ts';
import { Program, run, type RunResult, tryRun } from './program.ts';
import { repository } from './tools.ts';
import type { Workspace } from './workspace.ts';

/** What it has beside what apt needs. */
const packages = ['runc', 'systemd'];

/** Makes what a container gets of devices and file systems below the root $1, and becomes its systemd. */
const boot = `
set -e
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for name in dev run tmp; do mount -t tmpfs -o mode=755 tmpfs "$root/$name"; done
chmod 1777 "$root/tmp"
cd "$root/dev"
mkdir pts shm
mount -t devpts -o newinstance,ptmxmode=666 devpts pts
ln -s pts/ptmx ptmx
ln -s /proc/self/fd fd
make() { mknod -m 666 "$1" "$2" "$3" "$4"; }
make null c 1 3; make zero c 1 5; make full c 1 7; make random c 1 8; make urandom c 1 9; make tty c 5 0
make fuse c 10 229; make loop-control c 10 237
for number in $(seq 0 63); do make "loop$number" b 7 "$number"; done
# In a container systemd leaves this to what starts it.
mount --make-rshared "$root"
exec chroot "$root" /usr/bin/env -i container=lxc /lib/systemd/systemd --show-status=no
`;

/**
 * A small Debian that runs systemd in namespaces of its own, with the network of this machine. It has neither Node nor
 * Go. Disposing of it ends all of its processes.
 */
export class BareSystem implements AsyncDisposable {
  /** Its root directory, as this machine sees it. */
  readonly root: string;
  readonly #program: Program;
  readonly #pid: string;

  private constructor(root: string, program: Program, pid: string) {
    this.root = root;
    this.#program = program;
    this.#pid = pid;
  }

  /** Boots a fresh one in a directory of that name. */
  static async boot(workspace: Workspace, name: string): Promise<BareSystem> {
    const root = await workspace.directory(name);
    await run('tar', ['--extract', '--numeric-owner', '--file', await bareDebian(workspace), '--directory', root]);
    await writeFile(join(root, 'etc', 'hosts'), '127.0.0.1 localhost\n');
    const script = join(workspace.path, 'boot.sh');
    await writeFile(script, boot);
    const namespaces = ['--mount', '--pid', '--cgroup', '--ipc', '--uts', '--fork', '--kill-child'];
    const program = new Program({
      name: 'systemd',
      command: 'unshare',
      args: [...namespaces, 'sh', script, root],
      log: join(workspace.path, `${name}.log`),
    });
    let system: BareSystem | undefined;
    await program.ready(async () => {
      const pid = (await readFile(`/proc/${program.pid}/task/${program.pid}/children`, 'utf8').catch(() => '')).trim();
      if (pid === '') return false;
      system = new BareSystem(root, program, pid);
      const { stdout } = await system.tryRun('systemctl', 'is-system-running');
      return /running|degraded/.test(stdout);
    });
    return system!;
  }

  /** Runs a command in it, as a login of root would. */
  tryRun(command: string, ...args: readonly string[]): Promise<RunResult> {
    const namespaces = ['--mount', '--pid', '--cgroup', '--ipc', '--uts', '--root', '--wd'];
    return tryRun('nsenter', [`--target=${this.#pid}`, ...namespaces, '--', ...login, command, ...args]);
  }

  /** As tryRun, but a status other than 0 is an error. Gives standard output. */
  async run(command: string, ...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.tryRun(command, ...args);
    if (status === 0) return stdout;
    throw new Error(`${command} ${args.join(' ')} ended with status ${status}:\n${stdout}${stderr}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program.stop('SIGKILL');
  }
}

const login = [
  '/usr/bin/env',
  '-i',
  'HOME=/root',
  'LC_ALL=C.UTF-8',
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
];

/** The tar of that Debian, which is made once. */
async function bareDebian(workspace: Workspace): Promise<string> {
  const suite = await debianSuite();
  const directory = join(repository, '.cache', 'bare');
  const tar = join(directory, `${suite}-${packages.join('-')}.tar`);
  if (existsSync(tar)) return tar;
  await mkdir(directory, { recursive: true });
  const fresh = join(directory, `${process.pid}.tar`);
  await makeDebian(suite, packages, fresh, workspace.path);
  await rename(fresh, tar);
  return tar;
}
