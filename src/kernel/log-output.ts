import { closeSync, constants, fstatSync, openSync, type Stats, writeSync } from 'node:fs';
import { syscallNow } from './libc.ts';

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

const send = syscallNow<[number, Buffer, number, number]>(
  'send',
  'long send(int fd, const void *bytes, size_t length, int flags)',
);

/** So much waits to be written; what comes after that is lost. */
const maxWaitingBytes = 1 << 20;

/** When it is tried again: soon after a pipe was full, and ever later while nothing can be written. */
const minRetryMs = 20;
const maxRetryMs = 1000;

/**
 * Writes lines to an open descriptor, and lets no caller wait for that: neither a pipe that nothing reads, a closed
 * terminal nor a full disk makes a call throw or block. What cannot be written now is tried again, up to a bound; once
 * lines come through again, one says how many were lost.
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
   * @param fd of a file, a pipe, a terminal or a socket; it stays the caller's
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

  /** Writes a line, which ends with a newline. */
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

  /** Writes what waits, as far as that goes. A line of which a part was written goes on where that ended. */
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
      // It cannot be told.
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

/** Opens a pipe or a terminal once more, since not to wait is a property of the open file, which others have too. */
function withoutWaiting(fd: number): number | undefined {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return undefined; // nothing reads the pipe, or the terminal is gone: that ends in an error, and not in a wait
  }
}
