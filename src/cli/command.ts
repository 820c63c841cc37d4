import { Command, type Help } from 'commander';
import { displayWidth, padEnd, textColumns, wrapped } from './screen.ts';

/** Longer options and commands have a line of their own in the help. */
const maxTermColumns = 26;

/** The indent of a description if its term leaves no room for it on the line. */
const smallIndent = 8;

/** A command that knows the notes and examples of its help, so that the manual can have them too. */
export class CliCommand extends Command {
  #notes = '';
  #examples: readonly string[] = [];

  constructor(name?: string) {
    super(name);
    this.helpCommand(false);
    const helpWidth = textColumns(process.stdout, process.env);
    this.configureHelp({ helpWidth, minWidthToWrap: 10, formatItem: helpItem, subcommandTerm });
  }

  /** Notes besides the options: paragraphs with an empty line between them. */
  get notes(): string {
    return this.#notes;
  }

  /** Command lines to copy. */
  get examples(): readonly string[] {
    return this.#examples;
  }

  /** Adds both to the end of the help. Each example is a command line; notes may be empty. */
  explain(notes: string, examples: readonly string[]): this {
    this.#notes = notes;
    this.#examples = examples;
    const width = textColumns(process.stdout, process.env);
    const paragraphs = notes === '' ? [] : notes.split('\n\n').map((paragraph) => wrapped(paragraph, width));
    const list = ['Examples:', ...examples.map((example) => exampleText(example, width))].join('\n');
    return this.addHelpText('after', `\n${[...paragraphs, list].join('\n\n')}`);
  }

  override createCommand(name?: string): CliCommand {
    return new CliCommand(name);
  }
}

/** A command in the list of commands, without its arguments: they are in its own help. */
function subcommandTerm(command: Command): string {
  return command.name();
}

/** A line of the help and its continuations: a term and its description. */
function helpItem(term: string, termColumns: number, description: string, { helpWidth = 80 }: Help): string {
  const columns = Math.min(termColumns, maxTermColumns, Math.floor(helpWidth / 3));
  const indent = columns + 4;
  const longest = Math.max(0, ...description.split(/\s+/).map(displayWidth));
  const fits = displayWidth(term) <= columns && longest <= helpWidth - indent;
  if (description === '') return `  ${term}`;
  if (fits)
    return `  ${padEnd(term, columns)}  ${wrapped(description, helpWidth - indent).replaceAll('\n', `\n${' '.repeat(indent)}`)}`;
  const own = longest <= helpWidth - indent ? indent : smallIndent;
  return `  ${term}\n${' '.repeat(own)}${wrapped(description, helpWidth - own).replaceAll('\n', `\n${' '.repeat(own)}`)}`;
}

/** A command line that can be copied even if it takes several lines: its comment then comes before it. */
function exampleText(example: string, width: number): string {
  const line = `  ${example}`;
  if (displayWidth(line) <= width) return line;
  const [, command = example, comment] = /^(.*?) +# (.*)$/.exec(example) ?? [];
  const above = comment === undefined ? '' : `  # ${wrapped(comment, width - 4).replaceAll('\n', '\n  # ')}\n`;
  if (displayWidth(command) + 2 <= width) return `${above}  ${command}`;
  return `${above}  ${wrapped(command, width - 4, 4).replaceAll('\n', ' \\\n')}`;
}
