import type { Writable } from 'node:stream';
import { errnoOf, isSystemError, LazypullError, messageOf } from '../errors.ts';
import { type Paint, painter, plain } from '../util/colour.ts';
import { printableLines } from '../util/printable.ts';
import { hintFor } from './hints.ts';

/** Ends a command with an exit code of its own; the command has said what there is to say. */
export class ExitError extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

/**
 * Writes an error to standard error: "lazypull: Cannot …: …", and a line of advice if the class of the error has one.
 */
export function printError(program: string, error: unknown): void {
  process.stderr.write(formatError(program, error, painter(process.stderr, process.env)));
}

/** What `printError` writes. */
export function formatError(program: string, error: unknown, paint: Paint = plain): string {
  const hint = hintFor(error);
  return `${paint('bad', `${program}:`)} ${printableLines(detailOf(error))}\n${hint === undefined ? '' : `${paint('strong', 'hint:')} ${printableLines(hint)}\n`}`;
}

/** What is not expected comes with its stack, for a report; what the system refused says itself what it was. */
function detailOf(error: unknown): string {
  if (error instanceof LazypullError || !(error instanceof Error)) return messageOf(error);
  if (isSystemError(error)) return `Cannot go on: ${messageOf(error)}`;
  return `This is a defect in lazypull, please report it: ${error.stack}`;
}

/** Tells the user something that is neither data nor an error. */
export function say(program: string, text: string): void {
  process.stderr.write(`${program}: ${printableLines(text)}\n`);
}

/**
 * Notes when standard output cannot be written, which only code that waits for it is told of. The returned function
 * gives the error, once all that was written before has been.
 */
export function watchOutput(stream: Writable): () => Promise<Error | undefined> {
  let failure: Error | undefined;
  stream.on('error', (error) => {
    failure ??= error;
  });
  return async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return failure;
  };
}

/**
 * Writes data and waits until the stream takes more. Ends the command without a word, with 1, if nothing reads any
 * more, as in `lazypull … | head`.
 */
export async function write(stream: Writable, data: string | Uint8Array): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      stream.once('error', reject);
      stream.write(data, (error) => {
        if (error) return; // which is emitted next
        stream.off('error', reject);
        resolve();
      });
    });
  } catch (error) {
    if (errnoOf(error) === 'EPIPE') throw new ExitError(1);
    throw new LazypullError('Unavailable', 'Cannot write the output', { cause: error });
  }
}
