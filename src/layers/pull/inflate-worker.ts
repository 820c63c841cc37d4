/** A thread that decompresses blobs: the bytes come in messages, and the tar goes to another thread. */
import { type MessagePort, parentPort } from 'node:worker_threads';
import { openZlib } from '../../kernel/zlib.ts';
import { openZstd } from '../../kernel/zstd.ts';
import { trimMemory } from '../../kernel/memory.ts';
import { BufferPressure } from '../../util/buffer-pressure.ts';
import type { EndCommand, RestCommand } from '../../util/end-worker.ts';
import { checkNotCancelled, sendTar } from './tar-link.ts';

export type InflateCommand =
  | EndCommand
  | RestCommand
  /** `cancelled` becomes 1 if the job must end at once. The tar goes to `link`. */
  | { kind: 'inflate'; job: number; cancelled: Int32Array; link: MessagePort; memory: Uint8Array }
  /** The next bytes of the blob, which are in shared memory. */
  | { kind: 'bytes'; job: number; bytes: Uint8Array }
  /** There are no more bytes. */
  | { kind: 'over'; job: number };

/** The oldest unanswered bytes have been used. */
export interface InflateAnswer {
  readonly job: number;
}

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

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      checkNotCancelled(this.#cancelled);
      const bytes = this.#waiting.shift();
      if (bytes !== undefined) {
        yield Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        port!.postMessage({ job: this.job } satisfies InflateAnswer);
      } else if (this.#isOver) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

let feed: Feed | undefined;

port.on('message', (command: InflateCommand) => {
  if (command.kind === 'end') port.close();
  else if (command.kind === 'rest') {
    new BufferPressure().rest(true);
    void trimMemory();
  } else if (command.kind === 'inflate') {
    const { job, cancelled, link, memory } = command;
    feed = new Feed(job, cancelled);
    const zlib = openZlib();
    const inflater = zlib && (() => zlib.inflater());
    const zstd = openZstd();
    const frameDecoder = zstd && (() => zstd.decoder());
    void sendTar({ blob: feed, inflater, frameDecoder, check: () => checkNotCancelled(cancelled) }, link, memory);
  } else if (command.job !== feed?.job) return;
  else if (command.kind === 'bytes') feed.add(command.bytes);
  else feed.end();
});
