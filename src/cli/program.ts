/**
 * The commands. Each file parses its flags, calls other rooms, and prints. Whatever deserves a test of its own is in
 * another room.
 *
 * Begin here: a new command is a file with a `…Command` function, and a line in this one. `command.ts` is the base of
 * all, `output.ts` prints results and errors, `error-hint.ts` says what to do.
 */

import type { Command } from 'commander';
import { printableLines } from '../util/printable.ts';
import { version } from '../version.ts';
import { daemonCommand } from './daemon.ts';
import type { Environment } from './environment.ts';
import { whichDaemonRule } from './which-daemon.ts';
import { CliCommand } from './command.ts';

/**
 * The command line of lazypull. It throws CommanderError instead of ending the process.
 *
 * @param command the first argument: the daemon and a builder do not load what only other commands need
 */
export async function createProgram(environment: Environment, command: string | undefined): Promise<CliCommand> {
  const program = new CliCommand(environment.name)
    .description('Start a container build or a container on an image before it is pulled')
    .version(`${environment.name} ${version}`, '-V, --version', 'print the version')
    .enablePositionalOptions()
    .explain(`Which daemon a command uses: ${whichDaemonRule}`, [
      'lazypull check                     # what this machine lacks',
      'lazypull buildkitd                 # a buildkitd that is lazy',
      'lazypull convert IMAGE NEW_IMAGE   # an image that can be lazy',
      'lazypull why IMAGE                 # why it is not',
    ]);
  program.addCommand(daemonCommand(environment));
  tame(program, environment.name);
  if (command === 'daemon') return program;
  const { buildkitdCommand } = await import('./buildkitd.ts');
  if (command === 'buildkitd') {
    program.addCommand(buildkitdCommand(environment));
    tame(program, environment.name);
    return program;
  }
  const { convertCommand } = await import('./convert.ts');
  const { buildkitCommand } = await import('./buildkit.ts');
  const { statusCommand } = await import('./status.ts');
  const { reportCommand } = await import('./report/command.ts');
  const { stopCommand } = await import('./stop.ts');
  const { whyCommand } = await import('./why.ts');
  const { inspectCommand } = await import('./inspect.ts');
  const { lsCommand } = await import('./ls.ts');
  const { catCommand } = await import('./cat.ts');
  const { mountCommand } = await import('./mount.ts');
  const { pullCommand } = await import('./pull.ts');
  const { checkCommand } = await import('./check.ts');
  const { setupCommand } = await import('./setup.ts');
  const { traceCommand } = await import('./trace.ts');
  const { cacheCommand } = await import('./cache.ts');
  const { indexCommand } = await import('./layer-index/index-command.ts');
  const { helpCommand, versionCommand } = await import('./help.ts');
  const { completionCommand } = await import('./completion.ts');
  program.addCommand(convertCommand(environment));
  program.addCommand(statusCommand(environment));
  program.addCommand(reportCommand(environment));
  program.addCommand(stopCommand(environment));
  program.addCommand(whyCommand(environment));
  program.addCommand(inspectCommand(environment));
  program.addCommand(lsCommand(environment));
  program.addCommand(catCommand(environment));
  program.addCommand(mountCommand(environment));
  program.addCommand(pullCommand(environment));
  program.addCommand(checkCommand(environment));
  program.addCommand(setupCommand(environment));
  program.addCommand(traceCommand(environment));
  program.addCommand(cacheCommand(environment));
  program.addCommand(indexCommand(environment));
  program.addCommand(buildkitdCommand(environment));
  program.addCommand(buildkitCommand(environment));
  program.addCommand(completionCommand(program));
  program.addCommand(versionCommand(environment));
  program.addCommand(helpCommand(program));
  tame(program, environment.name);
  return program;
}

/** Makes a command and those below it throw, and name the program in messages about wrong usage. */
function tame(command: Command, name: string): void {
  command
    .exitOverride()
    .showHelpAfterError('hint: add --help to see what it takes')
    .configureOutput({
      outputError: (text, write) =>
        write(
          printableLines(inWords(text)).replace(/^error: ./, (start) => `${name}: ${start.slice(-1).toUpperCase()}`),
        ),
    });
  for (const child of command.commands) tame(child, name);
}

/**
 * For an impossible value, commander explains at length where it is. Here the problem comes first, and names its
 * subject itself if it can.
 */
function inWords(text: string): string {
  const pattern =
    /^error: (?:command-argument value '(?<value>.*)' is invalid for (?<argument>argument '.*?')|(?<option>option '.*?') argument '(?<given>.*)' is invalid)\. (?<why>.*)/s;
  const { value, argument, option, given, why = '' } = pattern.exec(text)?.groups ?? {};
  if (why === '') return text;
  if (why.startsWith('Cannot ')) return `error: ${why}`;
  return `error: the ${argument ?? option} cannot be '${value ?? given}'. ${why}`;
}
