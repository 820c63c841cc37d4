import { CommanderError } from 'commander';
import { errnoOf, LazypullError } from '../errors.ts';
import { withTwoDashes } from './daemon.ts';
import { type Environment, exitCodes } from './environment.ts';
import { ExitError, printError, watchOutput } from './output.ts';
import { withHelpFirst } from './help.ts';
import { UsageError } from './usage-error.ts';
import { createProgram } from './program.ts';

/**
 * Runs one command line to its end.
 *
 * @param argv the arguments after the program's name
 * @returns the exit code
 */
export async function main(argv: readonly string[], environment: Environment): Promise<number> {
  const outputFailure = watchOutput(process.stdout);
  // If the terminal was closed, nothing can be told.
  if (argv[0] !== 'daemon') process.stderr.on('error', () => undefined);
  try {
    const [command, ...rest] = argv;
    const args = command === 'daemon' ? ['daemon', ...withTwoDashes(rest)] : command === '-v' ? ['-V', ...rest] : argv;
    const program = await createProgram(environment, args[0]);
    await program.parseAsync(withHelpFirst(args, program), { from: 'user' });
    return await ended(environment.name, outputFailure);
  } catch (error) {
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? ended(environment.name, outputFailure) : exitCodes.usage;
    }
    if (error instanceof ExitError) return error.exitCode;
    printError(environment.name, error);
    if (error instanceof UsageError) return exitCodes.usage;
    return error instanceof LazypullError && error.code === 'Canceled' ? exitCodes.interrupted : exitCodes.failure;
  }
}

/** Success, unless the output could not be written, as on a full disk. A reader that has gone is not reported. */
async function ended(name: string, outputFailure: () => Promise<Error | undefined>): Promise<number> {
  const failure = await outputFailure();
  if (failure === undefined) return exitCodes.ok;
  if (errnoOf(failure) !== 'EPIPE') {
    printError(name, new LazypullError('Unavailable', 'Cannot write the output', { cause: failure }));
  }
  return exitCodes.failure;
}
