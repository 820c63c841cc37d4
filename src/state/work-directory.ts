import { lstatSync, mkdtempSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LazypullError, messageOf } from '../errors.ts';
import { type Lock, type Locking, tryLockFile } from '../kernel/flock.ts';
import { detach, mountsBelow, mountTable } from '../kernel/mount.ts';
import type { Log } from '../log.ts';

/**
 * A directory in which a command mounts what it needs, below a directory for temporary files. A lock says whether the
 * command still runs.
 */
const namePattern = /^lazypull-(?:check-)?[A-Za-z0-9]{6}$/;

/**
 * A temporary directory for mounts, some of which are the source of a mount elsewhere. When it is disposed of,
 * everything in it is unmounted, and the directory is removed. If we are killed before that, the next command finds it
 * by its lock, or by the mount elsewhere, and cleans up.
 */
export class WorkDirectory implements AsyncDisposable {
  readonly path: string;
  readonly #lock: Lock;

  /** Makes one in `parent`. Its path has no symlinks. */
  static async make(parent: string, prefix: 'lazypull-' | 'lazypull-check-' = 'lazypull-'): Promise<WorkDirectory> {
    const path = realpathSync(mkdtempSync(join(parent, prefix)));
    const locking = await tryLockFile(lockPath(path));
    if (!('lock' in locking)) throw new LazypullError('Unavailable', `Cannot lock the new directory "${path}"`);
    return new WorkDirectory(path, locking.lock);
  }

  private constructor(path: string, lock: Lock) {
    this.path = path;
    this.#lock = lock;
  }

  /**
   * Writes down that something is mounted at `target` whose source is in this directory. To be called before it is
   * mounted.
   */
  noteTarget(target: string): void {
    writeFileSync(targetPath(this.path), target, { mode: 0o600 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await remove(this.path);
    this.#lock[Symbol.dispose]();
  }
}

/**
 * Cleans up after killed commands: those whose directories are in `parent`, and the one that has something mounted at
 * `target`.
 *
 * @param target the path, without symlinks, at which something is going to be mounted; undefined if nothing is
 * @throws FailedPrecondition if a running command has something mounted at `target`
 */
export async function clearLeft(parent: string, target: string | undefined, log: Log): Promise<void> {
  const above = target === undefined ? [] : (await mountTable(target)).filter(({ path }) => path === target);
  const owners = above.map(({ source }) => source).filter((source) => namePattern.test(source.split('/').at(-1) ?? ''));
  for (const path of new Set([...owners, ...directoriesIn(parent)])) {
    const locking = await lockOf(path);
    if (locking === undefined) continue;
    if ('lock' in locking) {
      using _lock = locking.lock;
      await clear(path, log);
    } else if (owners.includes(path)) {
      throw new LazypullError(
        'FailedPrecondition',
        `Cannot mount at "${target}": process ${locking.holder ?? 'unknown'} has an image mounted there`,
        { hint: 'end it, or choose another directory' },
      );
    }
  }
}

async function clear(path: string, log: Log): Promise<void> {
  const target = readOrUndefined(targetPath(path));
  try {
    if (target !== undefined) {
      for (let source = await topAt(target); source === path; source = await topAt(target)) {
        if (!(await detach(target))) break;
        log.warn({ file: target }, 'unmounted what a killed command had mounted');
      }
    }
    await remove(path);
  } catch (error) {
    log.warn({ file: path, error: messageOf(error) }, 'cannot remove what a killed command has left');
  }
}

/** The source of the topmost mount at a path. */
async function topAt(path: string): Promise<string | undefined> {
  return (await mountTable(path)).findLast((mount) => mount.path === path)?.source;
}

/** Removes a directory after all mounts in it. */
async function remove(path: string): Promise<void> {
  for (const point of (await mountsBelow(path)).toReversed()) await detach(point);
  if ((await mountsBelow(path)).length === 0) await rm(path, { recursive: true, force: true });
}

function directoriesIn(parent: string): string[] {
  try {
    const real = realpathSync(parent);
    return readdirSync(real)
      .filter((name) => namePattern.test(name))
      .map((name) => join(real, name));
  } catch {
    return [];
  }
}

/**
 * The lock of a directory that a command of our user made; undefined for anything else, because others may write into a
 * directory for temporary files.
 */
async function lockOf(path: string): Promise<Locking | undefined> {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  const isOurs = stats?.isDirectory() && stats.uid === process.geteuid?.() && (stats.mode & 0o077) === 0;
  if (!isOurs || readOrUndefined(lockPath(path)) === undefined) return undefined;
  return tryLockFile(lockPath(path)).catch(() => undefined);
}

function readOrUndefined(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function lockPath(path: string): string {
  return join(path, 'lock');
}

function targetPath(path: string): string {
  return join(path, 'target');
}
