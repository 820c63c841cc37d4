import { existsSync, readFileSync, rmdirSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const versionOne = (controller: string) => `/sys/fs/cgroup/${controller}`;

/**
 * A control group of its own for what a test starts, of version 1 or 2. Disposing of it removes it; nothing may be left
 * in it.
 */
export class Cgroup implements AsyncDisposable {
  readonly #path: string;
  readonly #isFirst: boolean;

  /** @param limit what the group may have: bytes of memory, or threads */
  static async make(controller: 'memory' | 'pids', limit: number): Promise<Cgroup> {
    const isFirst = existsSync(join(versionOne(controller), 'cgroup.procs')) && existsSync(versionOne('memory'));
    const parent = isFirst ? versionOne(controller) : '/sys/fs/cgroup';
    const path = join(parent, `lp-test-${process.pid}-${Math.random().toString(36).slice(2)}`);
    if (!isFirst) await writeFile(join(parent, 'cgroup.subtree_control'), `+${controller}`);
    await mkdir(path);
    const group = new Cgroup(path, isFirst);
    if (controller === 'pids') await group.#write('pids.max', limit);
    else await group.#write(isFirst ? 'memory.limit_in_bytes' : 'memory.max', limit);
    return group;
  }

  private constructor(path: string, isFirst: boolean) {
    this.#path = path;
    this.#isFirst = isFirst;
  }

  /** Has what `start` starts begin its life in the group: this process is in it meanwhile. */
  async during<T>(start: () => Promise<T>): Promise<T> {
    const before = this.#ownGroup();
    await this.#write('cgroup.procs', process.pid);
    try {
      return await start();
    } finally {
      await writeFile(join(before, 'cgroup.procs'), String(process.pid));
    }
  }

  /** What stands before a command so that it begins its life in the group, and this process is never in it. */
  get launcher(): readonly string[] {
    return ['bash', '-c', `echo $$ > "${this.#path}/cgroup.procs" && exec "$0" "$@"`];
  }

  /** How many processes the kernel has killed because the group had too little memory. */
  async kills(): Promise<number> {
    const file = this.#isFirst ? 'memory.oom_control' : 'memory.events';
    return Number(/^oom_kill (\d+)$/m.exec(await readFile(join(this.#path, file), 'utf8'))?.[1]);
  }

  /** The most memory that the group has had, in bytes; NaN if the kernel does not say. */
  async peakBytes(): Promise<number> {
    const file = this.#isFirst ? 'memory.max_usage_in_bytes' : 'memory.peak';
    return Number(await readFile(join(this.#path, file), 'utf8').catch(() => 'NaN'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        rmdirSync(this.#path);
        return;
      } catch (error) {
        if (tries === 100) throw error;
        await sleep(100); // what has ended there is not gone at once
      }
    }
  }

  #ownGroup(): string {
    const controller = this.#path.split('/')[4]!;
    const pattern = this.#isFirst ? new RegExp(`^\\d+:${controller}:(.*)$`, 'm') : /^0::(.*)$/m;
    const group = pattern.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
    return join(this.#isFirst ? versionOne(controller) : '/sys/fs/cgroup', group);
  }

  async #write(file: string, value: number): Promise<void> {
    await writeFile(join(this.#path, file), String(value));
  }
}
