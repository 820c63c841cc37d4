import { Command } from 'commander';
import { version } from '../version.ts';
import { buildkitCommand } from './buildkit.ts';
import { convertCommand } from './convert.ts';
import { daemonCommand } from './daemon.ts';
import type { Environment } from './main.ts';

/** The command line of lazypull. It throws CommanderError instead of ending the process. */
export function createProgram(environment: Environment): Command {
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
  for (const command of [daemonCommand(environment), buildkitCommand(environment), convertCommand()]) {
    program.addCommand(inherit(program, command));
  }
  return program;
}

/** Commands that are made apart from their parent do not have its settings. */
function inherit(parent: Command, command: Command): Command {
  command.copyInheritedSettings(parent);
  for (const child of command.commands) inherit(command, child);
  return command;
}
