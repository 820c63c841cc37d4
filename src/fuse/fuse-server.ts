/**
 * The kernel's FUSE protocol, as far as flat files need it: one directory with a file for each layer. It knows ranges
 * and whether they are here, and calls back for missing ones.
 *
 * Begin with `FuseServer`, which answers in this thread what needs a fetch. `reader-worker.ts` answers everything else
 * in a thread of its own. `connection.ts` makes the mount, and `abi.ts` has the structures of the kernel.
 */

import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { errnoOf, LazypullError, messageOf } from '../errors.ts';
import { isDisconnected } from '../kernel/detached-mount.ts';
import { hasLostWrites } from '../kernel/writeback.ts';
import type { Log } from '../log.ts';
import { workerUrl } from '../util/worker-url.ts';
import { errnos, errorReply, maxReadBytes, outHeaderBytes, writeOutHeader } from './abi.ts';
import type { FuseConnection } from './connection.ts';
import { nameOn } from './connection-name.ts';
import { type FlatFile, noteLost, noteRead, type RestingFile } from './flat-file.ts';
import { type FuseMetrics, fuseMetrics, outcomes } from './metrics.ts';
import type { Loss, Miss, ReaderCommand } from './reader-worker.ts';

/** Bytes of a file from `offset` on that could not be written to the local file. */
export interface Piece {
  readonly offset: number;
  readonly content: Uint8Array;
}

/**
 * Makes bytes [offset, offset + size) of a file resident, except for the pieces that it resolves to. A rejection
 * becomes EIO for the reader; the next read tries again.
 */
export type Fetch = (offset: number, size: number) => Promise<readonly Piece[]>;

/**
 * Opens a file that the kernel knows and this server does not. The file has been added when the promise resolves. A
 * rejection becomes EIO.
 */
export type OpenAgain = (nodeId: number) => Promise<void>;

/**
 * Is called if the kernel failed to write to the local file. Everything that was not synced may be lost, and reads as
 * zeros once it has left the page cache. No range counts as resident then. From then on `fetch` also gets bytes outside
 * of all ranges, and has to make sure of them.
 */
export type OnLost = () => void;

interface ServedFile {
  readonly file: FlatFile;
  readonly fetch: Fetch;
  readonly onLost: OnLost;
  readonly fd: number;
}

interface SleepingFile {
  readonly file: RestingFile;
  /** The file has been added again when it resolves. A rejection becomes EIO. */
  readonly wake: () => Promise<void>;
  readonly onLost: OnLost;
  readonly fd: number;
}

/** Looks a file up by its name; resolves whether it is there or not. */
export type LookUp = (name: string) => Promise<unknown>;

/** How long commands that release something may wait for others. */
const nudgeMs = 250;

/** How long a file may still be used when the file system is given up, by a program that looks at all mounts. */
const freeWithinMs = 500;

/** At most one line of the log in so long says that readers get errors because the kernel does not wait. */
const latePauseMs = 30_000;

/** How often a local file may lose bytes during one read of it. */
const maxLosses = 3;

/** How often a file may become idle again during one read of it. */
const maxWakes = 10;

/**
 * A FUSE file system of flat, read-only files in one directory. A separate thread answers reads of resident ranges
 * without the main thread. For the others `fetch` is called once for each read, and the read is answered when it
 * resolves.
 */
export class FuseServer {
  #connection: FuseConnection;
  #worker: Worker;
  readonly #openAgain: OpenAgain;
  readonly #lookUp: LookUp;
  readonly #log: Log;
  readonly #files = new Map<number, ServedFile | SleepingFile>();
  /** The node ids of files whose local files may have lost bytes. */
  readonly #lost = new Set<number>();
  #ended: Promise<void>;
  #onDisconnect: () => void = () => undefined;
  readonly #reply = Buffer.alloc(outHeaderBytes + maxReadBytes);
  readonly #metrics: FuseMetrics;
  /** How many reads ended in each of `outcomes`. */
  readonly #reads = new BigInt64Array(new SharedArrayBuffer(8 * outcomes.length));
  #waiting = 0;
  #nudge: NodeJS.Timeout | undefined;
  #nudging: Promise<unknown> | undefined;
  #closed = false;
  #lateMs = Number.NEGATIVE_INFINITY;

  /**
   * Serves the file system of a connection, which it closes in the end.
   *
   * @param lookUp is used on its own files; it must run in another process, or this one cannot be killed meanwhile
   */
  constructor(
    connection: FuseConnection,
    openAgain: OpenAgain,
    lookUp: LookUp,
    log: Log,
    metrics: FuseMetrics = fuseMetrics(),
  ) {
    this.#connection = connection;
    this.#openAgain = openAgain;
    this.#lookUp = lookUp;
    this.#log = log;
    this.#metrics = metrics;
    for (const [i, outcome] of outcomes.entries()) {
      metrics.reads.from(() => Number(Atomics.load(this.#reads, i)), { outcome });
    }
    metrics.waiting.from(() => this.#waiting);
    ({ worker: this.#worker, ended: this.#ended } = this.#startReader(connection));
  }

  /**
   * Calls `action` if the connection ends without being closed: it was aborted. Readers get errors until `reconnect`.
   */
  onDisconnect(action: () => void): void {
    this.#onDisconnect = action;
  }

  /** Whether the kernel still brings requests. Does not wait. */
  get isConnected(): boolean {
    return !isDisconnected(this.#connection.fd);
  }

  /** Serves the same files by another connection, which replaces a dead one. */
  async reconnect(connection: FuseConnection): Promise<void> {
    await this.#ended; // it holds the descriptor until then
    const before = this.#connection;
    this.#connection = connection;
    closeSync(before.root);
    closeSync(before.fd);
    ({ worker: this.#worker, ended: this.#ended } = this.#startReader(connection));
    for (const { file } of this.#files.values()) this.#command({ kind: 'add', file });
  }

  #startReader(connection: FuseConnection): { worker: Worker; ended: Promise<void> } {
    const worker = new Worker(workerUrl(import.meta.url, './reader-worker'), {
      workerData: { fd: connection.fd, name: connection.name, reads: this.#reads },
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    });
    worker.on('message', (message: Miss | Loss) => {
      if ('lost' in message) this.#noteLost(message.lost);
      else void this.#answer(message, connection);
    });
    worker.once('error', (error) => {
      // Every reader would wait for ever. The next life of the program takes over what they wait for.
      throw new Error('The thread that reads /dev/fuse has failed', { cause: error });
    });
    const ended = new Promise<void>((resolve) => {
      worker.once('exit', () => {
        resolve();
        if (!this.#closed) this.#onDisconnect();
      });
    });
    return { worker, ended };
  }

  /** The name by which a file is mounted. No other connection has a file of that name. */
  nameOf(file: string): string {
    return nameOn(this.#connection.name, file);
  }

  /** Starts to serve a file, or one that was idle. A lookup after this call finds its name. */
  add(file: FlatFile, fetch: Fetch, onLost: OnLost = () => undefined): void {
    this.#files.set(file.nodeId, { file, fetch, onLost, fd: this.#fdOf(file) });
    this.#command({ kind: 'add', file });
  }

  /**
   * As `add`, for a file that will not be read soon; or takes the tables of a served file out of memory.
   *
   * @param wake adds the file before it resolves; it is called if something from `dataOffset` on is read. A rejection
   * becomes EIO
   */
  rest(file: RestingFile, wake: () => Promise<void>, onLost: OnLost): void {
    this.#files.set(file.nodeId, { file, wake, onLost, fd: this.#fdOf(file) });
    this.#command({ kind: 'add', file });
    this.#nudgeSoon();
  }

  /** Stops serving a file. Its readers get EIO. */
  remove(nodeId: number): void {
    const file = this.#files.get(nodeId);
    if (file === undefined) return;
    this.#files.delete(nodeId);
    this.#lost.delete(nodeId);
    this.#command({ kind: 'remove', nodeId });
    closeSync(file.fd);
    this.#nudgeSoon();
  }

  /**
   * Unmounts the file system. No other process may have a descriptor of it. Waits for half a second if a file of it is
   * still open or mounted.
   *
   * @returns false if one is open or mounted after that; the thread then lives until the process ends
   */
  async close(): Promise<boolean> {
    const { fd, root } = this.#connection;
    clearTimeout(this.#nudge);
    this.#closed = true;
    await this.#nudging;
    closeSync(root);
    await Promise.race([this.#ended, sleep(freeWithinMs, undefined, { ref: false })]); // the thread keeps us alive
    const idle = isDisconnected(fd);
    if (idle) {
      await this.#ended;
      closeSync(fd);
    } else {
      this.#worker.unref();
    }
    for (const { fd } of this.#files.values()) closeSync(fd);
    this.#files.clear();
    return idle;
  }

  #fdOf({ nodeId, path }: RestingFile | FlatFile): number {
    return this.#files.get(nodeId)?.fd ?? openSync(path, 'r');
  }

  /**
   * The thread takes commands when a request comes. This makes a request, so that memory and descriptors are released
   * soon.
   */
  #nudgeSoon(): void {
    if (this.#closed || this.#nudge !== undefined) return;
    this.#nudge = setTimeout(() => {
      this.#nudge = undefined;
      this.#nudging = this.#lookUp('.nobody').catch(() => undefined);
    }, nudgeMs).unref();
  }

  #command(command: ReaderCommand): void {
    this.#worker.postMessage(command);
  }

  async #answer({ unique, nodeId, offset, size }: Miss, connection: FuseConnection): Promise<void> {
    this.#metrics.begin();
    const started = performance.now();
    this.#waiting++;
    let outcome: (typeof outcomes)[number] = 'error';
    const failure = errorReply(unique, errnos.EIO);
    let reply = failure;
    let isLate = false;
    const late = setTimer(connection.answerWithinMs, () => {
      isLate = true;
      this.#noteLate(connection);
      this.#send(connection, failure);
    });
    try {
      if (!this.#files.has(nodeId)) await this.#openAgain(nodeId);
      for (let losses = 0; outcome === 'error' && losses <= maxLosses; losses++) {
        const served = await this.#awake(nodeId);
        if (served === undefined) break;
        const wanted = Math.max(0, Math.min(size, maxReadBytes, served.file.bytes - offset));
        const isHere = noteRead(served.file, offset, wanted) && !this.#lost.has(nodeId);
        const pieces = isHere ? [] : await served.fetch(offset, wanted);
        // By now the file may be gone, and its descriptor reused.
        if (this.#files.get(nodeId) !== served) break;
        const found = this.#read(served, unique, offset, wanted, pieces);
        if (hasLostWrites(served.fd)) {
          noteLost(served.file);
          this.#noteLost(nodeId);
        } else {
          reply = found; // the one buffer for all: it is sent before other code has a turn
          outcome = 'miss';
        }
      }
    } catch {
      // The code that opens, fetches or reads has logged why.
    }
    this.#waiting--;
    Atomics.add(this.#reads, outcomes.indexOf(outcome), 1n);
    this.#metrics.waitSeconds.observe((performance.now() - started) / 1000);
    clearTimeout(late);
    if (!isLate) this.#send(connection, reply);
  }

  #send(connection: FuseConnection, reply: Buffer): void {
    if (connection !== this.#connection) return; // it is dead, and its descriptor closed
    try {
      writeSync(connection.fd, reply);
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'ENOENT' || code === 'ENODEV' || code === 'EBADF') return; // no reader waits for it any more
      this.#log.error({ error: messageOf(error) }, 'cannot answer a FUSE read');
    }
  }

  #noteLate({ answerWithinMs }: FuseConnection): void {
    const now = performance.now();
    if (now - this.#lateMs < latePauseMs) return;
    this.#lateMs = now;
    this.#log.warn(
      { waitedMs: answerWithinMs },
      'readers get EIO because their data did not come in time: fs.fuse.default_request_timeout or fs.fuse.max_request_timeout is too short; set both to 0, then stop lazypull and start it again (a takeover keeps the old limits)',
    );
  }

  #noteLost(nodeId: number): void {
    const file = this.#files.get(nodeId);
    if (file === undefined) return;
    this.#lost.add(nodeId);
    file.onLost();
  }

  async #awake(nodeId: number): Promise<ServedFile | undefined> {
    for (let wakes = 0; wakes < maxWakes; wakes++) {
      const file = this.#files.get(nodeId);
      if (file === undefined || 'fetch' in file) return file;
      await file.wake();
    }
    return undefined;
  }

  /**
   * The answer to a read whose bytes have just come and are in the page cache: it blocks only for a moment, and uses
   * one buffer for all.
   */
  #read({ fd }: ServedFile, unique: bigint, offset: number, size: number, pieces: readonly Piece[]): Buffer {
    try {
      for (let got = 0; got < size; ) {
        const n = readSync(fd, this.#reply, outHeaderBytes + got, size - got, offset + got);
        if (n === 0) throw new LazypullError('DataLoss', 'The local file is shorter than it must be');
        got += n;
      }
      for (const { offset: start, content } of pieces) {
        const part = content.subarray(Math.max(0, offset - start), Math.max(0, offset + size - start));
        this.#reply.set(part, outHeaderBytes + Math.max(0, start - offset));
      }
      return writeOutHeader(this.#reply.subarray(0, outHeaderBytes + size), outHeaderBytes + size, unique, 0);
    } catch (error) {
      this.#log.error({ error: messageOf(error), offset, size }, 'cannot read a layer back from the disk');
      throw error;
    }
  }
}

function setTimer(ms: number | undefined, action: () => void): NodeJS.Timeout | undefined {
  return ms === undefined ? undefined : setTimeout(action, ms).unref();
}
