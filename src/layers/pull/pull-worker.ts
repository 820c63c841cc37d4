/** A thread that makes layers of blobs: the bytes come in messages, one layer after another. */
import { parentPort } from 'node:worker_threads';
import { codeOf, type ErrorCode, hintOf, LazypullError, messageOf } from '../../errors.ts';
import { openZlib } from '../../kernel/zlib.ts';
import type { EndCommand } from '../../util/end-worker.ts';
import { type Pulled, pullInto, type PullTarget } from './pull-into.ts';

export type PullCommand =
  | EndCommand
  /** `cancelled` becomes 1 when the job is to end at once. */
  | { kind: 'pull'; job: number; target: PullTarget; cancelled: Int32Array }
  /** The next bytes of the blob, which are in shared memory. */
  | { kind: 'bytes'; job: number; bytes: Uint8Array }
  /** There are no more bytes. */
  | { kind: 'over'; job: number };

export type PullAnswer =
  /** The bytes that came first of those that are there have been used. */
  | { job: number; isTaken: true }
  | { job: number; pulled: Pulled }
  | { job: number; error: { code: ErrorCode; message: string; hint: string | undefined } };

const port = parentPort;
if (port === null) throw new Error('Cannot run outside a worker thread');

/** The bytes of the job under way. */
class Feed {
  readonly job: number;
  readonly #cancelled: Int32Array;
  readonly #waiting: Uint8Array[] = [];
  #isOver = false;
  #wake: (() => void) | undefined;

  constructor(job: number, cancelled: Int32Array) {
    this.job = job;
    this.#cancelled = cancelled;
  }

  add(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    this.#wake?.();
  }

  end(): void {
    this.#isOver = true;
    this.#wake?.();
  }

  readonly check = (): void => {
    if (Atomics.load(this.#cancelled, 0) !== 0) throw new LazypullError('Canceled', 'The pull was given up');
  };

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      this.check();
      const bytes = this.#waiting.shift();
      if (bytes !== undefined) {
        yield Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        answer({ job: this.job, isTaken: true });
      } else if (this.#isOver) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

let feed: Feed | undefined;

port.on('message', (command: PullCommand) => {
  if (command.kind === 'end') port.close();
  else if (command.kind === 'pull') void pull(command.target, (feed = new Feed(command.job, command.cancelled)));
  else if (command.job !== feed?.job) return;
  else if (command.kind === 'bytes') feed.add(command.bytes);
  else feed.end();
});

async function pull(target: PullTarget, blob: Feed): Promise<void> {
  const { job, check } = blob;
  const zlib = openZlib();
  try {
    const pulled = await pullInto(target, { blob, inflater: zlib && (() => zlib.inflater()), check });
    answer({ job, pulled });
  } catch (error) {
    answer({ job, error: { code: codeOf(error), message: messageOf(error), hint: hintOf(error) } });
  }
}

function answer(message: PullAnswer): void {
  port!.postMessage(message);
}
