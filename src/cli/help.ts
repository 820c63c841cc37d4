import { Argument, type Command } from 'commander';
import { version } from '../version.ts';
import type { Environment } from './environment.ts';
import { UsageError } from './usage-error.ts';
import { CliCommand } from './command.ts';
import { printText } from './output.ts';

/** `lazypull help [COMMAND...]`: what --help of the command prints. */
export function helpCommand(program: CliCommand): CliCommand {
  const words = new Argument('[command...]', 'words of the command, as in "cache prune" (default: the program itself)');
  words.argChoices = program.commands.map((command) => command.name());
  return new CliCommand('help')
    .description('Print what a command does and which arguments it takes')
    .addArgument(words)
    .explain('"lazypull cache help" and "lazypull cache help prune" do the same.', [
      'lazypull help convert',
      'lazypull help cache prune',
    ])
    .action((path: string[]) => {
      let command = program as CliCommand;
      for (const word of path) {
        const next = command.commands.find((child) => child.name() === word);
        if (next === undefined) throw unknown(path, command);
        command = next as CliCommand;
      }
      command.outputHelp();
    });
}

/**
 * Makes "help" after a command the same as before it: `cache help prune` is `help cache prune`. If the command takes
 * words of the user, "help" is such a word, as in `ls help`.
 */
export function withHelpFirst(args: readonly string[], program: Command): readonly string[] {
  let command = program;
  for (const [i, word] of args.entries()) {
    if (word === 'help' && i > 0 && command.registeredArguments.length === 0) {
      const others = args.toSpliced(i, 1);
      return args[0] === 'daemon' ? [...others, '--help'] : ['help', ...others];
    }
    const next = command.commands.find((child) => child.name() === word);
    if (next === undefined) break;
    command = next;
  }
  return args;
}

function unknown(path: readonly string[], nearest: CliCommand): UsageError {
  const names = nearest.commands.map((child) => child.name());
  const known = names.length === 0 ? `"${nearest.name()}" has no commands below it` : `there are ${names.join(', ')}`;
  return new UsageError('InvalidArgument', `There is no command "${path.join(' ')}": ${known}`);
}

/** `lazypull version`. */
export function versionCommand({ name }: Environment): CliCommand {
  return new CliCommand('version')
    .description('Print the version, as --version does')
    .explain('', ['lazypull version'])
    .action(() => printText(`${name} ${version}\n`));
}
