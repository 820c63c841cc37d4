import { closeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, explain, LazypullError, messageOf } from '../errors.ts';
import type { HeldConnection } from '../fuse/connection.ts';
import { bootId } from '../kernel/boot.ts';
import { directoryIdentity } from '../kernel/directory-identity.ts';
import { firstHeldDescriptor, startHolder } from '../kernel/fd-holder.ts';
import { isRunning, type ProcessIdentity, takeDescriptor } from '../kernel/pidfd.ts';
import { boundPath, isListening } from '../kernel/unix-socket.ts';
import type { Log } from '../log.ts';
import { type KeeperRecord, keepersOf, keeperTitle, readRecord, recordPath, recordVersion } from './keeper-record.ts';
import { type ListeningSocket, removeSocket } from './socket.ts';
import { replaceFile } from '../kernel/replace-file.ts';

/** What is kept for the next life. Descriptors belong to the process that has this object. */
export interface Kept {
  readonly fuse: HeldConnection;
  /** The sockets that the service manager does not keep. */
  readonly sockets: readonly ListeningSocket[];
}

const watchMs = 2_000;
const endMs = 2_000;
const pollMs = 5;

/**
 * A process that keeps the FUSE connection and the listening sockets open if this one is killed or replaced, so that
 * readers and callers wait for the next one. If it ends, it is started again.
 */
export class Keeper {
  readonly #root: string;
  readonly #log: Log;
  #kept: Kept | undefined;
  #identity: ProcessIdentity | undefined;
  #watch: NodeJS.Timeout | undefined;
  #isEnded = false;
  #turn: Promise<void> = Promise.resolve();

  /**
   * The keeper of a root directory, which no other process uses: the one that an earlier life started, if it runs and
   * its descriptors can be taken; else none yet. A keeper without a correct record is ended: readers that wait for what
   * it holds would wait for ever.
   */
  static async open(root: string, log: Log): Promise<Keeper> {
    const keeper = new Keeper(root, log);
    const path = recordPath(root);
    const record = readRecord(root, (problem) => {
      log.warn({ path, problem }, 'the record of the keeper is damaged: mounting everything again');
    });
    if (record === undefined) await rm(path, { force: true, recursive: true });
    for (const stray of keepersOf(root)) {
      if (stray.pid === record?.keeper.pid) continue;
      log.warn({ pid: stray.pid }, 'ending a keeper that no record names: readers that wait for it get errors');
      await end(stray);
    }
    if (record === undefined) return keeper;
    const taken: number[] = [];
    const take = async (fd: number): Promise<number> => {
      const own = await takeDescriptor(record.keeper.pid, fd);
      taken.push(own);
      return own;
    };
    keeper.#identity = record.keeper;
    try {
      const { name, fd, root, wasAttached, answerWithinMs } = record.fuse;
      const fuse = {
        name,
        fd: await take(fd),
        root: root === undefined ? undefined : await take(root),
        wasAttached,
        answerWithinMs,
      };
      const sockets: ListeningSocket[] = [];
      for (const socket of [...(record.socket ? [record.socket] : []), ...(record.moreSockets ?? [])]) {
        const fd = await take(socket.fd);
        await checkSocket(fd, socket.path);
        sockets.push({ ...socket, fd });
      }
      keeper.#kept = { fuse, sockets };
    } catch (error) {
      for (const fd of taken) closeSync(fd);
      log.warn({ pid: record.keeper.pid, error: messageOf(error) }, 'cannot take over what the keeper holds');
      if (isWrong(error)) await end(record.keeper); // else a start with more rights can go on with it
    }
    return keeper;
  }

  private constructor(root: string, log: Log) {
    this.#root = root;
    this.#log = log;
  }

  /** What it holds. */
  get kept(): Kept | undefined {
    return this.#kept;
  }

  /** Whether what it holds outlives this process. */
  get isRunning(): boolean {
    return this.#identity !== undefined && isRunning(this.#identity);
  }

  /** Makes it hold these things and nothing else, from when this resolves until `end`; after that it holds nothing. */
  keep(kept: Kept): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#isEnded) return;
      const isSame = this.#kept !== undefined && identityOf(this.#kept) === identityOf(kept);
      const before = this.#identity;
      this.#kept = kept;
      this.#watch ??= setInterval(() => void this.#inTurn(() => this.#revive()), watchMs).unref();
      if (isSame && this.isRunning) return;
      this.#identity = await startKeeper(this.#root, kept);
      if (before !== undefined) await end(before);
    });
  }

  /** Ends the keeper and removes its file. What it held lives as long as this process. */
  end(): Promise<void> {
    this.#isEnded = true;
    clearInterval(this.#watch);
    return this.#inTurn(async () => {
      await rm(recordPath(this.#root), { force: true });
      if (this.#identity !== undefined) await end(this.#identity);
    });
  }

  async #revive(): Promise<void> {
    const kept = this.#kept;
    if (this.isRunning || kept === undefined || this.#isEnded) return;
    this.#log.warn({ pid: this.#identity?.pid }, 'the keeper of the mounts has ended: starting another one');
    try {
      this.#identity = await startKeeper(this.#root, kept);
    } catch (error) {
      this.#log.error({ error: explain(error) }, 'cannot start a keeper');
    }
  }

  /** One at a time, so that no keeper is started that is not known. */
  #inTurn(action: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(action);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

/** The process id of the keeper of a root directory; undefined if none runs. */
export async function keeperOf(root: string): Promise<number | undefined> {
  return readRecord(root)?.keeper.pid ?? keepersOf(root)[0]?.pid;
}

/**
 * Ends the keeper of a root directory without a daemon, and removes its file and the sockets that it held.
 *
 * @returns its process id; undefined if none ran
 */
export async function endKeeper(root: string): Promise<number | undefined> {
  const record = readRecord(root);
  const sockets = [...(record?.socket ? [record.socket] : []), ...(record?.moreSockets ?? [])];
  for (const socket of sockets) removeSocket(socket);
  await rm(recordPath(root), { force: true, recursive: true });
  const keepers = [...(record ? [record.keeper] : []), ...keepersOf(root)];
  for (const keeper of keepers) await end(keeper);
  return keepers[0]?.pid;
}

/** The paths of the sockets that the keeper of a root directory holds; none if none runs. */
export async function keptAddresses(root: string): Promise<string[]> {
  const { socket, moreSockets = [] } = readRecord(root) ?? {};
  return [...(socket ? [socket] : []), ...moreSockets].map(({ path }) => path);
}

async function startKeeper(root: string, kept: Kept): Promise<ProcessIdentity> {
  const { fuse, sockets } = kept;
  const descriptors = [fuse.fd, ...sockets.map(({ fd }) => fd), ...(fuse.root === undefined ? [] : [fuse.root])];
  const keeper = await startHolder(keeperTitle(root), descriptors);
  const [socket, ...moreSockets] = sockets.map((each, i) => ({ ...each, fd: firstHeldDescriptor + 1 + i }));
  const rootFd = fuse.root === undefined ? undefined : firstHeldDescriptor + descriptors.length - 1;
  const record: KeeperRecord = {
    version: recordVersion,
    boot: bootId(),
    directory: directoryIdentity(root),
    keeper,
    fuse: { ...fuse, fd: firstHeldDescriptor, root: rootFd },
    socket,
    moreSockets,
  };
  const path = recordPath(root);
  try {
    await replaceFile(path, JSON.stringify(record));
  } catch (error) {
    await end(keeper); // no record names it, so it would not be found
    throw error;
  }
  return keeper;
}

/** What is kept, as a text that identifies it. */
function identityOf({ fuse, sockets }: Kept): string {
  return JSON.stringify([
    fuse.name,
    fuse.root !== undefined,
    ...sockets.map(({ path, inode }) => `${inode} ${path}`).sort(),
  ]);
}

async function checkSocket(fd: number, path: string): Promise<void> {
  if ((await isListening(fd)) && (await boundPath(fd)) === path) return;
  throw new LazypullError('DataLoss', `It holds another socket for "${path}" than the one that listens there`);
}

/** Whether the error means that the record is wrong. */
function isWrong(error: unknown): boolean {
  return error instanceof LazypullError || errnoOf(error) === 'EBADF';
}

async function end(keeper: ProcessIdentity): Promise<void> {
  if (!isRunning(keeper)) return;
  try {
    process.kill(keeper.pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
  for (const deadline = performance.now() + endMs; isRunning(keeper) && performance.now() < deadline; )
    await sleep(pollMs);
}
