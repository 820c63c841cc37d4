import { closeSync, existsSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { syncDirectory } from '../kernel/replace-file.ts';

const digits = 16;

/**
 * A file beside a database with the number of the last change that was committed. If a write-ahead log is damaged or
 * gone, SQLite silently drops its changes; this number tells that there were some.
 *
 * It is written after each commit and not synced. So after a power cut it can be behind the database, and is never
 * ahead of it. Before the first commit the file itself is synced.
 */
export class Generation implements Disposable {
  readonly #fd: number;

  constructor(path: string) {
    const isNew = !existsSync(path);
    this.#fd = openSync(path, 'a+', 0o600);
    if (isNew) {
      fsyncSync(this.#fd);
      syncDirectory(dirname(path));
    }
    closeSync(this.#fd);
    this.#fd = openSync(path, 'r+');
  }

  /** The number; 0 if the file is new or damaged. */
  read(): number {
    const bytes = Buffer.alloc(digits + 1);
    const text = bytes.toString('latin1', 0, readSync(this.#fd, bytes, 0, bytes.length, 0));
    return /^\d{16}\n$/.test(text) ? Number(text) : 0;
  }

  /** Writes the number. If the disk refuses it, no change fails: the number stays behind. */
  write(number: number): void {
    try {
      writeSync(this.#fd, `${String(number).padStart(digits, '0')}\n`, 0);
    } catch {
      // An older number is correct too.
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
