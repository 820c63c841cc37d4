import { dirname } from 'node:path';
import { LazypullError, messageOf } from '../errors.ts';
import { bootId } from '../kernel/boot.ts';
import { directoryIdentity } from '../kernel/directory-identity.ts';
import { readOwnFile } from '../kernel/own-file.ts';
import { commandOf, identityOf, isDying, isRunning, type ProcessIdentity } from '../kernel/pidfd.ts';
import type { Log } from '../log.ts';
import { replaceFileNow } from '../kernel/replace-file.ts';

/** A process that uses a socket. */
export interface ClientProcess {
  readonly pid: number;
  /** The name of its program, as `ps` shows it. */
  readonly command: string;
}

/** What the file holds. */
interface ClientRecord extends ProcessIdentity, ClientProcess {
  readonly boot: string;
  /** The directory of the record. A copy of that directory has no client. Records of old versions do not have it. */
  readonly directory?: string | undefined;
}

const maxRefused = 64;

/**
 * Makes sure that only one process changes the snapshots of a store. A second one does not know the snapshots of the
 * first, and its garbage collection would remove them. The first process that comes owns the store until it ends, even
 * if this program is restarted meanwhile. Processes of another pid namespace have no pid here and cannot be told apart,
 * so they are let through.
 */
export class StoreOwner {
  readonly #path: string;
  readonly #address: string;
  readonly #log: Log;
  #owner: ClientRecord | undefined;
  /** Processes that were refused, so that the log has one line for each. */
  readonly #told = new Set<number>();
  #refused: ClientProcess | undefined;
  readonly #called = new AbortController();

  /**
   * @param path the file that remembers the process
   * @param address the address of the socket, for messages
   */
  constructor(path: string, address: string, log: Log) {
    this.#path = path;
    this.#address = address;
    this.#log = log;
    this.#owner = readRecord(path);
  }

  /**
   * Lets a process change something.
   *
   * @param pid 0 if the process has no pid here
   * @throws FailedPrecondition, which says what to do, while another process owns the store
   */
  check(pid: number): void {
    // Each call of it makes an error with a stack.
    if (!this.#called.signal.aborted) this.#called.abort();
    if (pid === 0 || pid === this.#owner?.pid) return;
    if (this.#owner !== undefined && isAlive(this.#owner)) throw this.#refuse(pid, this.#owner);
    const identity = identityOf(pid);
    if (identity === undefined) return; // it has ended meanwhile
    this.#owner = {
      boot: bootId(),
      directory: directoryIdentity(dirname(this.#path)),
      ...identity,
      command: commandOf(pid),
    };
    this.#refused = undefined;
    this.#told.clear();
    this.#write(this.#owner);
  }

  /** Aborts when the first process of this life wants to change something. */
  get called(): AbortSignal {
    return this.#called.signal;
  }

  /** The process that owns the store; undefined if there is none now. */
  get process(): ClientProcess | undefined {
    const owner = this.#owner;
    return owner !== undefined && isAlive(owner) ? { pid: owner.pid, command: owner.command } : undefined;
  }

  /** The last process that was refused, as long as it and the owner run. */
  get refused(): ClientProcess | undefined {
    const refused = this.#refused;
    return refused !== undefined && this.process !== undefined && identityOf(refused.pid) !== undefined
      ? refused
      : undefined;
  }

  #refuse(pid: number, owner: ClientRecord): LazypullError {
    const command = commandOf(pid);
    this.#refused = { pid, command };
    const message = `Two clients use the socket "${this.#address}": process ${owner.pid} (${owner.command}) has it, and process ${pid} (${command}) is refused, because each would remove the snapshots of the other`;
    const hint =
      'give it a socket of its own, with another --address of the daemon or with [[client]] in its config file';
    if (!this.#told.has(pid)) {
      if (this.#told.size >= maxRefused) this.#told.clear();
      this.#told.add(pid);
      this.#log.error({ socket: this.#address, pid, command, owner: owner.pid }, `${message}; ${hint}`);
    }
    return new LazypullError('FailedPrecondition', message, { hint });
  }

  #write(record: ClientRecord): void {
    try {
      replaceFileNow(this.#path, JSON.stringify(record));
    } catch (error) {
      this.#log.warn({ path: this.#path, error: messageOf(error) }, 'cannot record which process is the client');
    }
  }
}

/** A killed process that is not gone yet makes no more calls. */
function isAlive(process: ClientRecord): boolean {
  return isRunning(process) && !isDying(process.pid);
}

/** The record in the file, if it is of this boot. */
function readRecord(path: string): ClientRecord | undefined {
  try {
    const record = JSON.parse(readOwnFile(path)) as ClientRecord;
    const isRight = record.boot === bootId() && Number.isSafeInteger(record.pid) && typeof record.command === 'string';
    const isHere = record.directory === undefined || record.directory === directoryIdentity(dirname(path));
    return isRight && isHere ? record : undefined;
  } catch {
    return undefined; // the first one has the store
  }
}
