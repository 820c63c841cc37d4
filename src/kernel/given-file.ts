import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf, LazypullError } from '../errors.ts';

/** How long what is to be read from a pipe may take to come, in milliseconds. */
const maxPipeMs = 10_000;
const lookMs = 20;

const { O_NONBLOCK, O_RDONLY } = constants;

/**
 * Reads a small file that a user or an operator has named or put into its place. It may be a pipe that another program
 * writes into, as in `--config <(make-config)`. It never waits for long: a named pipe without a writer would be waited
 * for for ever.
 *
 * @param waitMs how long the content of a pipe may take, in milliseconds
 * @throws InvalidArgument if it is longer than `maxBytes`, or a pipe whose content does not come; else a system error
 */
export async function readGivenFile(path: string, maxBytes: number, waitMs = maxPipeMs): Promise<Buffer> {
  await using file = await open(path, O_RDONLY | O_NONBLOCK);
  const found = await file.stat();
  if (found.size > maxBytes) throw tooLarge(path, maxBytes);
  const end = performance.now() + waitMs;
  const pieces: Buffer[] = [];
  for (let bytes = 0; ; ) {
    const piece = await readSome(file, maxBytes + 1 - bytes);
    // A named pipe that no program has opened yet looks as one that is at its end.
    const isPending = piece === undefined || (piece.length === 0 && bytes === 0 && found.isFIFO());
    if (isPending && performance.now() > end) {
      throw new LazypullError('InvalidArgument', `"${path}" is a pipe, and not all has come in ${waitMs / 1000} s`);
    }
    if (isPending) await delay(lookMs);
    else if (piece.length === 0) return Buffer.concat(pieces);
    else {
      pieces.push(piece);
      bytes += piece.length;
      if (bytes > maxBytes) throw tooLarge(path, maxBytes);
    }
  }
}

/** What is there, at most `maxBytes`; nothing at the end; undefined if more may come. */
async function readSome(file: FileHandle, maxBytes: number): Promise<Buffer | undefined> {
  try {
    const { bytesRead, buffer } = await file.read({ buffer: Buffer.alloc(Math.min(maxBytes, 64 << 10)) });
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return undefined;
    throw error;
  }
}

function tooLarge(path: string, maxBytes: number): LazypullError {
  return new LazypullError('InvalidArgument', `"${path}" is larger than ${maxBytes} bytes`);
}
