import { setTimeout as delay } from 'node:timers/promises';
import { explain } from '../errors.ts';
import type { Log } from '../log.ts';

/** Lines for the failures of one pause: a registry that answers with garbage fails thousands of parts a second. */
const maxLines = 10;
const pauseMs = 1000;

/** At most one line in so long says that the disk refuses writes. */
const unwritablePauseMs = 30_000;

interface Failure {
  readonly diskOffset: number;
  readonly error: Error;
}

export interface FailureLogOptions {
  readonly layer: string;
  readonly log: Log;
  /** The paths of the files that hold these disk offsets. */
  readonly pathsAt: (diskOffsets: readonly number[]) => Promise<readonly string[]>;
}

/**
 * Logs which parts of a layer could not be fetched, and why: those that readers wait for first, and only as many as are
 * useful.
 */
export class FailureLog {
  readonly #options: FailureLogOptions;
  #pending: Failure[] = [];
  #left = 0;
  #writing: Promise<void> | undefined;
  /** When the log last said that the disk refuses writes. */
  #unwritableMs = Number.NEGATIVE_INFINITY;
  readonly #closing = new AbortController();

  constructor(options: FailureLogOptions) {
    this.#options = options;
  }

  /** Notes that the disk refused a part of the layer. */
  unwritable(error: Error): void {
    const now = performance.now();
    if (now - this.#unwritableMs < unwritablePauseMs) return;
    this.#unwritableMs = now;
    const { layer, log } = this.#options;
    log.warn(
      { layer, error: explain(error) },
      'cannot write parts of a layer to the disk: they are served from memory, and fetched again at each read',
    );
  }

  /** @param isAwaited whether a reader gets EIO */
  add(diskOffset: number, error: Error, isAwaited: boolean): void {
    if (isAwaited) this.#pending.unshift({ diskOffset, error });
    else this.#pending.push({ diskOffset, error });
    if (this.#pending.length > maxLines) {
      this.#pending.pop();
      this.#left++;
    }
    this.#writing ??= this.#write();
  }

  /** Writes the remaining lines. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#writing;
  }

  async #write(): Promise<void> {
    await Promise.resolve(); // other failures of this moment come first
    while (this.#pending.length > 0) {
      const failures = this.#pending;
      const left = this.#left;
      this.#pending = [];
      this.#left = 0;
      await this.#writeLines(failures, left);
      await delay(pauseMs, undefined, { ref: false, signal: this.#closing.signal }).catch(() => undefined);
    }
    this.#writing = undefined;
  }

  async #writeLines(failures: readonly Failure[], left: number): Promise<void> {
    const { layer, log, pathsAt } = this.#options;
    const files = await pathsAt(failures.map(({ diskOffset }) => diskOffset)).catch(() => []);
    for (const [i, { error }] of failures.entries()) {
      log.error(
        { layer, file: files[i] ?? '', error: explain(error) },
        'cannot fetch a part of a layer: its readers get EIO',
      );
    }
    if (left > 0) log.error({ layer, parts: left }, 'more parts of the layer could not be fetched');
  }
}
