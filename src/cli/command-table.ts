import type { Argument, Option } from 'commander';
import { CliCommand } from './command.ts';

/** The kind of a word of a command line. A shell cannot complete `text`. */
export type ValueKind =
  | { readonly kind: 'text' | 'file' | 'directory' }
  | { readonly kind: 'words'; readonly words: readonly string[] };

export interface OptionRow {
  /** With its dashes. */
  readonly long: string;
  readonly short: string | undefined;
  /** As the help shows it: `-R, --recursive`, `--root <dir>`. */
  readonly usage: string;
  /** What it does, with its choices and its default. */
  readonly text: string;
  /** Undefined for a switch. */
  readonly value: ValueKind | undefined;
}

export interface ArgumentRow {
  /** As the help shows it: `<image>`, `[path]`. */
  readonly usage: string;
  /** What it is, with its choices and its default. */
  readonly text: string;
  readonly value: ValueKind;
}

export interface CommandRow {
  /** The words that call it, beginning with the program. */
  readonly path: string;
  readonly usage: string;
  readonly description: string;
  readonly notes: string;
  readonly examples: readonly string[];
  readonly arguments: readonly ArgumentRow[];
  readonly options: readonly OptionRow[];
  /** The last words of the commands below it. */
  readonly children: readonly string[];
}

/** Whether a command does something by itself, as `lazypull index IMAGE` does, and not only the commands below it. */
export function isCall({ children, arguments: places }: CommandRow): boolean {
  return children.length === 0 || places.length > 0;
}

/** A command and all below it, each before its own commands. Manuals and completions are made from this. */
export function commandTable(command: CliCommand, above: readonly string[] = []): CommandRow[] {
  const help = command.createHelp();
  const path = [...above, command.name()];
  const children = command.commands.filter((child) => child instanceof CliCommand);
  const row: CommandRow = {
    path: path.join(' '),
    usage: `${path.join(' ')} ${command.usage()}`.trim(),
    description: command.description(),
    notes: command.notes,
    examples: command.examples,
    arguments: command.registeredArguments.map((argument) => ({
      usage: argumentUsage(argument),
      text: help.argumentDescription(argument),
      value: valueOf(argument.name(), argument.argChoices, false),
    })),
    options: help.visibleOptions(command).map((option) => ({
      long: option.long ?? '',
      short: option.short,
      usage: option.flags,
      text: help.optionDescription(option),
      value: optionValue(option),
    })),
    children: children.map((child) => child.name()),
  };
  return [row, ...children.flatMap((child) => commandTable(child, path))];
}

function argumentUsage(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

function optionValue(option: Option): ValueKind | undefined {
  if (!option.required && !option.optional) return undefined;
  const placeholder = /[<[]([^\]>]+)[\]>]/.exec(option.flags)?.[1] ?? '';
  return valueOf(placeholder, option.argChoices, true);
}

/** Values to offer, by the name of the value in the help. Other values are possible too. */
const usualWords: Readonly<Record<string, readonly string[]>> = {
  'os/arch': [
    'linux/amd64',
    'linux/arm64',
    'linux/arm/v7',
    'linux/386',
    'linux/ppc64le',
    'linux/riscv64',
    'linux/s390x',
  ],
  '1-9': ['1', '2', '3', '4', '5', '6', '7', '8', '9'],
};

/** The name of a value tells its kind. A path that belongs to no option is one in an image. */
function valueOf(name: string, choices: readonly string[] | undefined, isOption: boolean): ValueKind {
  const words = choices ?? usualWords[name];
  if (words !== undefined) return { kind: 'words', words };
  if (name === 'file' || (name === 'path' && isOption)) return { kind: 'file' };
  return { kind: name === 'dir' || name === 'directory' ? 'directory' : 'text' };
}
