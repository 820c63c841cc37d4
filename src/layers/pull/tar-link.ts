import type { MessagePort } from 'node:worker_threads';
import { codeOf, type ErrorCode, hintOf, LazypullError, messageOf } from '../../errors.ts';
import type { Checkpoint, Compression } from '../../formats/blob-spans.ts';
import {
  type BlobEnd,
  type Mark,
  openTarStream,
  type OpenTar,
  pieceBytes,
  type TarStreamOptions,
} from './tar-stream.ts';

/** Pieces on their way from one thread to the other. */
const slots = 12;

/** Memory for the pieces on their way. */
export function linkMemory(): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(slots * pieceBytes));
}

type LinkMessage =
  | { readonly begin: { readonly compression: Compression; readonly noCheckpoints: string | undefined } }
  /** Its window is in shared memory: later changes are visible at the other end. */
  | { readonly checkpoint: Checkpoint }
  /** The next piece, and the marks in it. */
  | { readonly slot: number; readonly bytes: number; readonly marks: readonly Mark[] }
  | { readonly end: BlobEnd }
  | { readonly error: { readonly code: ErrorCode; readonly message: string; readonly hint: string | undefined } };

/**
 * Decompresses a blob in this thread, and sends the tar to the thread with the other end of the link. Never rejects:
 * errors are sent.
 */
export async function sendTar(
  options: Omit<TarStreamOptions, 'memory'>,
  link: MessagePort,
  memory: Uint8Array,
): Promise<void> {
  const send = (message: LinkMessage): void => link.postMessage(message);
  const free = Array.from({ length: slots }, (_, slot) => slot);
  let isClosed = false;
  let wake: (() => void) | undefined;
  link.on('message', (slot: number) => {
    free.push(slot);
    wake?.();
  });
  link.on('close', () => {
    isClosed = true;
    wake?.();
  });
  let slot = -1;
  const next = async (): Promise<Buffer> => {
    while (free.length === 0 && !isClosed) await new Promise<void>((resolve) => (wake = resolve));
    options.check();
    if (isClosed) throw new LazypullError('Canceled', 'The reader of the tar has stopped');
    slot = free.shift()!;
    return Buffer.from(memory.buffer, memory.byteOffset + slot * pieceBytes, pieceBytes);
  };
  try {
    let marks: Mark[] = [];
    const takeMarks = (): Mark[] => {
      const taken = marks;
      marks = [];
      return taken;
    };
    const stream = await openTarStream(
      { ...options, memory: next },
      { onCheckpoint: (checkpoint) => send({ checkpoint }), onMark: (mark) => marks.push(mark) },
    );
    const { compression, noCheckpoints } = stream;
    send({ begin: { compression, noCheckpoints } });
    for await (const piece of stream.pieces) {
      if (piece.buffer === memory.buffer) send({ slot, bytes: piece.length, marks: takeMarks() });
      else {
        for (let at = 0; at < piece.length; ) {
          const part = piece.copy(await next(), 0, at);
          send({ slot, bytes: part, marks: [] });
          at += part;
        }
      }
    }
    send({ end: stream.end() });
  } catch (error) {
    send({ error: { code: codeOf(error), message: messageOf(error), hint: hintOf(error) } });
  }
}

/**
 * Takes a tar from another thread. The link is closed at the end of the tar, or if the pieces are not wanted any more.
 */
export function receiveTar(link: MessagePort, memory: Uint8Array): OpenTar {
  const waiting: LinkMessage[] = [];
  let isClosed = false;
  let wake: (() => void) | undefined;
  link.on('message', (message: LinkMessage) => {
    waiting.push(message);
    wake?.();
  });
  link.on('close', () => {
    isClosed = true;
    wake?.();
  });
  const next = async (): Promise<LinkMessage> => {
    while (waiting.length === 0) {
      if (isClosed) throw new LazypullError('Unavailable', 'The thread that decompresses layers ended');
      await new Promise<void>((resolve) => (wake = resolve));
    }
    const message = waiting.shift()!;
    if (!('error' in message)) return message;
    const { code, message: text, hint } = message.error;
    throw new LazypullError(code, text, hint === undefined ? {} : { hint });
  };
  return async ({ onCheckpoint, onMark }) => {
    const first = await next();
    if (!('begin' in first)) throw new LazypullError('Unknown', 'A tar begins with something else');
    let end: BlobEnd | undefined;
    async function* pieces(): AsyncGenerator<Buffer> {
      const held: number[] = [];
      while (end === undefined) {
        const message = await next();
        if ('end' in message) end = message.end;
        else if ('checkpoint' in message) onCheckpoint(message.checkpoint);
        else if ('slot' in message) {
          for (const mark of message.marks) onMark(mark);
          held.push(message.slot);
          yield Buffer.from(memory.buffer, memory.byteOffset + message.slot * pieceBytes, message.bytes);
          if (held.length > 1) link.postMessage(held.shift());
        }
      }
    }
    return {
      ...first.begin,
      pieces: pieces(),
      end: () => {
        if (end === undefined) throw new LazypullError('Unknown', 'The tar has not been read to its end');
        return end;
      },
    };
  };
}

/** Throws once a job was cancelled. */
export function checkNotCancelled(cancelled: Int32Array): void {
  if (Atomics.load(cancelled, 0) !== 0) throw new LazypullError('Canceled', 'The pull was cancelled');
}
