import type { CommandRow, OptionRow, ValueKind } from '../command-table.ts';

/** A script for fish 3 or later. */
export function fishCompletion(table: readonly CommandRow[]): string {
  const program = table[0]!.path;
  const paths = table.map(({ path }) => quote(path)).join(' ');
  return `# Completion of ${program} for fish, as "${program} completion fish" prints it.

# Whether the command line calls the command that is given, and none below it.
function __${program}_at
    set -l path ${program}
    for word in (commandline -opc)[2..]
        contains -- "$path $word" ${paths}
        and set path "$path $word"
    end
    test "$path" = "$argv"
end

complete -c ${program} -f
${table.map((row) => commandLines(program, row, table)).join('')}`;
}

function commandLines(program: string, row: CommandRow, table: readonly CommandRow[]): string {
  const start = `complete -c ${program} -n ${quote(`__${program}_at ${row.path}`)}`;
  const lines = [
    ...row.children.map((child) => {
      const text = table.find(({ path }) => path === `${row.path} ${child}`)?.description ?? '';
      return `${start} -a ${quote(child)} -d ${quote(text)}`;
    }),
    ...row.arguments.flatMap(({ value }) => {
      return value.kind === 'text' ? [] : [`${start} ${valueFlags(value).replace(/^-[rx] /, '')}`];
    }),
    ...row.options.map((option) => `${start} ${optionFlags(option)}`),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

function optionFlags({ long, short, text, value }: OptionRow): string {
  return [
    ...(short === undefined ? [] : [`-s ${short.slice(1)}`]),
    `-l ${long.slice(2)}`,
    ...(value === undefined ? [] : [valueFlags(value)]),
    `-d ${quote(text)}`,
  ].join(' ');
}

/** fish offers files for every value, unless `-x` says that there are none. */
function valueFlags(value: ValueKind): string {
  if (value.kind === 'words') return `-x -a ${quote(value.words.join(' '))}`;
  return { text: '-x', file: '-r -F', directory: "-x -a '(__fish_complete_directories)'" }[value.kind];
}

function quote(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
