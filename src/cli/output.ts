import type { Writable } from 'node:stream';
import { errnoOf, LazypullError, messageOf } from '../errors.ts';

/** Ends a verb with an exit code of its own; the verb has said what there is to say. */
export class ExitError extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

/** Writes an error to standard error: "lazypull: Cannot …: …", and a line of advice where the class of the error has one. */
export function printError(program: string, error: unknown): void {
  process.stderr.write(formatError(program, error));
}

/** What `printError` writes. */
export function formatError(program: string, error: unknown): string {
  const hint = error instanceof LazypullError ? hints[error.code] : undefined;
  const detail = error instanceof LazypullError || !(error instanceof Error) ? messageOf(error) : error.stack;
  return `${program}: ${detail}\n${hint === undefined ? '' : `hint: ${hint}\n`}`;
}

/** Tells the user something that is neither data nor an error. */
export function say(program: string, text: string): void {
  process.stderr.write(`${program}: ${text}\n`);
}

/** Writes data and waits until the stream takes more. Ends the verb without a word, with 1, where nobody reads any more, as in `lazypull … | head`. */
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

const hints: Partial<Record<LazypullError['code'], string>> = {
  InvalidArgument: 'add --help to the command for what it takes',
  Unauthenticated:
    'log in with "docker login HOST", or set DOCKER_CONFIG to the directory of a config.json that has the credentials',
  PermissionDenied: 'log in with "docker login HOST" as a user who may do this',
  DataLoss: 'what the server sent is not what its digest promises; try again, or ask whoever runs the registry',
};
