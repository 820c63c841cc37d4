import type { Writable } from 'node:stream';
import { errnoOf, isSystemError, LazypullError, messageOf } from '../errors.ts';
import { type Paint, painter, plain } from '../util/colour.ts';
import { printableLines, terminalText } from '../util/printable.ts';
import { hintFor } from './error-hint.ts';

/** Ends a command with an exit code of its own; the command has printed everything already. */
export class ExitError extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

/** Writes an error to standard error: "lazypull: Cannot …: …", and a line with a hint if there is one. */
export function printError(program: string, error: unknown): void {
  process.stderr.write(formatError(program, error, painter(process.stderr, process.env)));
}

/** What `printError` writes. Only its first line and its hint begin a line: what others say cannot look like one. */
export function formatError(program: string, error: unknown, paint: Paint = plain): string {
  const hint = hintFor(error);
  return `${paint('bad', `${program}:`)} ${indented(detailOf(error))}\n${hint === undefined ? '' : `${paint('strong', 'hint:')} ${indented(hint)}\n`}`;
}

/** A text whose lines after the first begin with spaces. */
function indented(text: string): string {
  return printableLines(text).replaceAll(/\n(?! {2})/g, '\n  ');
}

/** An unexpected error comes with its stack, for a report. An error of the system explains itself. */
function detailOf(error: unknown): string {
  if (error instanceof LazypullError || !(error instanceof Error)) return messageOf(error);
  if (isSystemError(error)) return `Cannot go on: ${messageOf(error)}`;
  return `This is a defect in lazypull, please report it: ${error.stack}`;
}

/** Tells the user something that is neither data nor an error. */
export function say(program: string, text: string): void {
  process.stderr.write(`${program}: ${indented(text)}\n`);
}

/** Writes text to standard output, and does not wait. Nothing in it commands the terminal, whatever it was made of. */
export function printText(text: string): void {
  process.stdout.write(terminalText(text));
}

/**
 * Notes if standard output cannot be written, which is told only to code that waits for it. The returned function gives
 * the error, once everything before has been written.
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
 * Writes data and waits until the stream takes more. Text is treated as by `printText`, bytes are written as they are.
 * If nothing reads any more, as in `lazypull … | head`, it silently ends the command with 1.
 */
export async function write(stream: Writable, data: string | Uint8Array): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      stream.once('error', reject);
      stream.write(typeof data === 'string' ? terminalText(data) : data, (error) => {
        if (error) return; // the stream emits it next
        stream.off('error', reject);
        resolve();
      });
    });
  } catch (error) {
    if (errnoOf(error) === 'EPIPE') throw new ExitError(1);
    throw new LazypullError('Unavailable', 'Cannot write the output', { cause: error });
  }
}
