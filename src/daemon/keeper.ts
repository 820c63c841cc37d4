import { closeSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, explain, messageOf } from '../errors.ts';
import type { KeptConnection } from '../fuse/connection.ts';
import { bootId } from '../kernel/boot.ts';
import { directoryIdentity } from '../kernel/directory-identity.ts';
import { firstHeldDescriptor, startHolder } from '../kernel/holder.ts';
import { isRunning, type ProcessIdentity, takeDescriptor } from '../kernel/pidfd.ts';
import type { Log } from '../log.ts';
import { type ListeningSocket, removeSocket } from './socket.ts';

/** What is kept for the next life; descriptors are of the process that has this object. */
export interface Kept {
  readonly fuse: KeptConnection;
  /** Those that the service manager does not keep. */
  readonly sockets: readonly ListeningSocket[];
}

/** What the file `keeper.json` holds: descriptors are the keeper's. Versions that serve one client know one socket, and some no root of the connection. */
interface KeeperRecord {
  readonly version: typeof recordVersion;
  readonly boot: string;
  /** Which directory the root is, whatever its path: a copy of it has no keeper. Not in records of all versions. */
  readonly directory?: string | undefined;
  readonly keeper: ProcessIdentity;
  readonly fuse: KeptConnection;
  readonly socket?: ListeningSocket | undefined;
  readonly moreSockets?: readonly ListeningSocket[] | undefined;
}

const recordVersion = 1;
const watchMs = 2_000;
const endMs = 2_000;
const pollMs = 5;

/**
 * A process that keeps the FUSE connection and the listening sockets open when this one is killed or replaced, so that who reads or calls waits for the
 * next one. It is started again when it ends.
 */
export class Keeper {
  readonly #root: string;
  readonly #log: Log;
  #kept: Kept | undefined;
  #identity: ProcessIdentity | undefined;
  #watch: NodeJS.Timeout | undefined;
  #isEnded = false;
  #turn: Promise<void> = Promise.resolve();

  /** The keeper of a root directory: that which an earlier life started, where it runs and what it holds can be had; else none yet. */
  static async open(root: string, log: Log): Promise<Keeper> {
    const keeper = new Keeper(root, log);
    const record = await readRecord(root);
    if (record === undefined) return keeper;
    const taken: number[] = [];
    const take = async (fd: number): Promise<number> => {
      const own = await takeDescriptor(record.keeper.pid, fd);
      taken.push(own);
      return own;
    };
    keeper.#identity = record.keeper;
    try {
      const { name, fd, root, wasAttached } = record.fuse;
      const fuse = { name, fd: await take(fd), root: root === undefined ? undefined : await take(root), wasAttached };
      const sockets: ListeningSocket[] = [];
      for (const socket of [...(record.socket ? [record.socket] : []), ...(record.moreSockets ?? [])]) {
        sockets.push({ ...socket, fd: await take(socket.fd) });
      }
      keeper.#kept = { fuse, sockets };
    } catch (error) {
      for (const fd of taken) closeSync(fd);
      log.warn({ pid: record.keeper.pid, error: messageOf(error) }, 'cannot take over what the keeper holds');
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

  /** Has it hold these things and nothing else, from when this resolves until `end`; nothing after that. */
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

  /** Ends it and removes its file. What it held lives as long as this process. */
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
    this.#log.warn({ pid: this.#identity?.pid }, 'the keeper of the mounts has ended: another one is started');
    try {
      this.#identity = await startKeeper(this.#root, kept);
    } catch (error) {
      this.#log.error({ error: explain(error) }, 'cannot start a keeper');
    }
  }

  /** One at a time, so that none is started that nobody knows. */
  #inTurn(action: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(action);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

/** The process id of the keeper of a root directory; undefined where none runs. */
export async function keeperOf(root: string): Promise<number | undefined> {
  return (await readRecord(root))?.keeper.pid;
}

/**
 * Ends the keeper of a root directory that no daemon has, and removes its file and the sockets that it held.
 *
 * @returns its process id; undefined where none ran
 */
export async function endKeeper(root: string): Promise<number | undefined> {
  const record = await readRecord(root);
  if (record === undefined) return undefined;
  for (const socket of [...(record.socket ? [record.socket] : []), ...(record.moreSockets ?? [])]) removeSocket(socket);
  await rm(recordPath(root), { force: true });
  await end(record.keeper);
  return record.keeper.pid;
}

/** The paths of the sockets that the keeper of a root directory holds; none where none runs. */
export async function keptAddresses(root: string): Promise<string[]> {
  const { socket, moreSockets = [] } = (await readRecord(root)) ?? {};
  return [...(socket ? [socket] : []), ...moreSockets].map(({ path }) => path);
}

async function startKeeper(root: string, kept: Kept): Promise<ProcessIdentity> {
  const { fuse, sockets } = kept;
  const descriptors = [fuse.fd, ...sockets.map(({ fd }) => fd), ...(fuse.root === undefined ? [] : [fuse.root])];
  const keeper = await startHolder(['lazypull-keeper', root], descriptors);
  const [socket, ...moreSockets] = sockets.map((each, i) => ({ ...each, fd: firstHeldDescriptor + 1 + i }));
  const rootFd = fuse.root === undefined ? undefined : firstHeldDescriptor + descriptors.length - 1;
  const record: KeeperRecord = {
    version: recordVersion,
    boot: bootId(),
    directory: directoryIdentity(root),
    keeper,
    fuse: { name: fuse.name, fd: firstHeldDescriptor, root: rootFd, wasAttached: fuse.wasAttached },
    socket,
    moreSockets,
  };
  const path = recordPath(root);
  try {
    await writeFile(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
    await rename(`${path}.new`, path);
  } catch (error) {
    await end(keeper); // nobody would find it
    throw error;
  }
  return keeper;
}

/** What is kept, as a text that tells it from anything else. */
function identityOf({ fuse, sockets }: Kept): string {
  return JSON.stringify([
    fuse.name,
    fuse.root !== undefined,
    ...sockets.map(({ path, inode }) => `${inode} ${path}`).sort(),
  ]);
}

/** What the file says, if the keeper that it names is there. */
async function readRecord(root: string): Promise<KeeperRecord | undefined> {
  try {
    const record = JSON.parse(await readFile(recordPath(root), 'utf8')) as KeeperRecord;
    if (record.version !== recordVersion || record.boot !== bootId() || !isRunning(record.keeper)) return undefined;
    if (record.directory !== undefined && record.directory !== directoryIdentity(root)) return undefined;
    return record;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
}

async function end(keeper: ProcessIdentity): Promise<void> {
  if (!isRunning(keeper)) return;
  process.kill(keeper.pid, 'SIGKILL');
  for (const deadline = Date.now() + endMs; isRunning(keeper) && Date.now() < deadline; ) await sleep(pollMs);
}

function recordPath(root: string): string {
  return join(root, 'keeper.json');
}
