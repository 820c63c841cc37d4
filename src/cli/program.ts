import { Command } from 'commander';
import { version } from '../version.ts';
import { daemonCommand } from './daemon.ts';
import type { Environment } from './main.ts';

/**
 * The command line of lazypull. It throws CommanderError instead of ending the process.
 *
 * @param verb the first argument: the daemon does not load what only other verbs need
 */
export async function createProgram(environment: Environment, verb: string | undefined): Promise<Command> {
  const program = new Command(environment.name)
    .description('Start a container build or a container on an image before it is pulled')
    .version(`${environment.name} ${version}`, '--version', 'print the version')
    .helpCommand(false)
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      outputError: (text, write) =>
        write(text.replace(/^error: ./, (start) => `${environment.name}: ${start.slice(-1).toUpperCase()}`)),
    });
  program.addCommand(inherit(program, daemonCommand(environment)));
  if (verb === 'daemon') return program;
  const { convertCommand } = await import('./convert.ts');
  const { buildkitCommand } = await import('./buildkit.ts');
  program.addCommand(inherit(program, convertCommand()));
  program.addCommand(inherit(program, buildkitCommand(environment)));
  return program;
}

/** Commands that are made apart from their parent do not have its settings. */
function inherit(parent: Command, command: Command): Command {
  command.copyInheritedSettings(parent);
  for (const child of command.commands) inherit(command, child);
  return command;
}
