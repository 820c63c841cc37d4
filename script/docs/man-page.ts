import { type CommandRow, isCall } from '../../src/cli/command-table.ts';
import { version } from '../../src/version.ts';
import {
  environment,
  exitCodes,
  exitCodesOfOthers,
  files,
  introduction,
  type Item,
  rule,
  withoutHelp,
} from './manual.ts';

/** The manual page of section 1, in the macros of man(7). */
export function manPage(table: readonly CommandRow[]): string {
  const [program, ...commands] = table;
  const { path: name, description } = program!;
  return [
    `.\\" Made by "npm run gen:docs" from the command table; do not edit.`,
    `.TH ${name.toUpperCase()} 1 "" "${name} ${version}"`,
    '.SH NAME',
    `${name} \\- ${escape(description)}`,
    '.SH SYNOPSIS',
    `.B ${name}`,
    '.I command',
    '.RI [ options ]',
    '.SH DESCRIPTION',
    prose(introduction),
    '.SH WHICH DAEMON IS MEANT',
    prose(rule),
    '.SH COMMANDS',
    ...commands.filter(isCall).map(commandSection),
    '.SH EXIT STATUS',
    ...items(exitCodes),
    '.PP',
    prose(exitCodesOfOthers),
    '.SH ENVIRONMENT',
    ...items(environment),
    '.SH FILES',
    ...items(files),
    '.SH SEE ALSO',
    '.BR buildkitd (8),',
    '.BR containerd (8),',
    '.BR ctr (8)',
    '',
  ].join('\n');
}

function commandSection(row: CommandRow): string {
  const usage = row.usage.slice(row.path.length).trim();
  return [
    `.SS ${escape(row.path)}${usage === '' ? '' : ` ${escape(usage)}`}`,
    prose(row.description) + (/[.!?]$/.test(row.description) ? '' : '.'),
    ...row.arguments.map(({ usage, text }) => item({ name: usage, text })),
    ...withoutHelp(row.options).map(({ usage, text }) => item({ name: usage, text })),
    ...row.notes.split('\n\n').flatMap((paragraph) => (paragraph === '' ? [] : ['.PP', prose(paragraph)])),
    ...(row.examples.length === 0 ? [] : ['.PP', 'Examples:', '.PP', '.RS', '.EX']),
    ...row.examples.map(line),
    ...(row.examples.length === 0 ? [] : ['.EE', '.RE']),
  ].join('\n');
}

function items(list: readonly Item[]): string[] {
  return list.map(item);
}

function item({ name, text }: Item): string {
  return `.TP\n.B ${escape(name)}\n${prose(text)}`;
}

/** Text that is filled, with what is in backquotes in bold; a sentence a line, as man pages are written. */
export function prose(text: string): string {
  const words = text.replaceAll('\n', ' ').replaceAll(/(?<=[.:;]) (?=[A-Z"`])/g, '\n');
  return words
    .split('\n')
    .map(line)
    .join('\n')
    .replaceAll(/`([^`]*)`/g, '\\fB$1\\fR');
}

/** A line that is no request, whatever it begins with. */
function line(text: string): string {
  const escaped = escape(text);
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

/** What has a meaning in roff as what it is. */
function escape(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replaceAll("'", '\\(aq')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha');
}
