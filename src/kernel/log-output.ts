import { closeSync, constants, fstatSync, openSync, type Stats, writeSync } from 'node:fs';
import { syscallNow } from './libc.ts';

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

const send = syscallNow<[number, Buffer, number, number]>(
  'send',
  'long send(int fd, const void *bytes, size_t length, int flags)',
);

/** Up to so much waits to be written; later lines are lost. */
const maxWaitingBytes = 1 << 20;

/** When writing is tried again: soon after a pipe was full, and ever later while nothing can be written. */
const minRetryMs = 20;
const maxRetryMs = 1000;

/**
 * Writes lines to an open descriptor, and no caller waits for that. Calls neither throw nor block, even if nothing
 * reads the pipe, the terminal is closed or the disk is full. What cannot be written now is tried again, up to a bound.
 * Once lines can be written again, one says how many were lost.
 */
export class LogOutput implements Disposable {
  readonly #ownFd: number | undefined;
  readonly #write: (bytes: Buffer) => number;
  readonly #lost: (count: number) => string;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #lostLines = 0;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = minRetryMs;

  /**
   * @param fd a descriptor of a file, a pipe, a terminal or a socket; it stays the caller's
   * @param lost makes the line that says how many were lost
   */
  constructor(fd: number, lost: (count: number) => string) {
    this.#lost = lost;
    const stats = statsOf(fd);
    if (stats?.isFIFO() || stats?.isCharacterDevice()) this.#ownFd = withoutWaiting(fd);
    const target = this.#ownFd ?? fd;
    this.#write = stats?.isSocket()
      ? (bytes) => send(target, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL)
      : (bytes) => writeSync(target, bytes);
  }

  /** Writes a line, which must end with a newline. */
  write(line: string): void {
    if (this.#waitingBytes + line.length > maxWaitingBytes) this.#lostLines++;
    else {
      this.#add(line);
      this.#drain();
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#retry);
    if (this.#ownFd !== undefined) closeSync(this.#ownFd);
  }

  #add(line: string): void {
    const bytes = Buffer.from(line);
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  /** Writes as many waiting lines as possible. A partly written line continues where it stopped. */
  #drain(): void {
    try {
      for (;;) {
        for (let line = this.#waiting[0]; line !== undefined; line = this.#waiting[0]) {
          const written = this.#write(line);
          this.#waitingBytes -= written;
          this.#retryMs = minRetryMs;
          if (written === line.length) this.#waiting.shift();
          else this.#waiting[0] = line.subarray(written);
        }
        if (this.#lostLines === 0) return;
        this.#add(this.#lost(this.#lostLines));
        this.#lostLines = 0;
      }
    } catch {
      // If the output fails, there is no place to report it.
      this.#retry ??= setTimeout(() => {
        this.#retry = undefined;
        this.#retryMs = Math.min(2 * this.#retryMs, maxRetryMs);
        this.#drain();
      }, this.#retryMs).unref();
    }
  }
}

function statsOf(fd: number): Stats | undefined {
  try {
    return fstatSync(fd);
  } catch {
    return undefined; // it is not open
  }
}

/**
 * Opens a pipe or a terminal once more for writing without waiting. That is a property of the open file, which others
 * share.
 */
function withoutWaiting(fd: number): number | undefined {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return undefined; // nothing reads the pipe, or the terminal is gone: writing fails then, and does not wait
  }
}
