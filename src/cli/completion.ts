import { Argument } from 'commander';
import { bashCompletion } from './completions/bash.ts';
import { fishCompletion } from './completions/fish.ts';
import { zshCompletion } from './completions/zsh.ts';
import { type CommandRow, commandTable } from './command-table.ts';
import { write } from './output.ts';
import { CliCommand } from './command.ts';

const shells = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof shells)[number];

/** The script for each shell, made from the table of commands. */
export const completions: Readonly<Record<Shell, (table: readonly CommandRow[]) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** `lazypull completion bash|zsh|fish`: prints what makes a shell complete the commands of `program`. */
export function completionCommand(program: CliCommand): CliCommand {
  return new CliCommand('completion')
    .description('Print a script that makes a shell complete commands and options')
    .addArgument(new Argument('<shell>', 'the shell').choices(shells))
    .explain('In the directory where the shell keeps such scripts, it works in every shell that is started later.', [
      'source <(lazypull completion bash)    # for this shell',
      'lazypull completion bash > /usr/share/bash-completion/completions/lazypull',
      'lazypull completion zsh > /usr/share/zsh/vendor-completions/_lazypull',
      'lazypull completion fish > /usr/share/fish/vendor_completions.d/lazypull.fish',
    ])
    .action((shell: Shell) => write(process.stdout, completions[shell](commandTable(program))));
}
