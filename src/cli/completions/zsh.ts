import type { ArgumentRow, CommandRow, OptionRow, ValueKind } from '../command-table.ts';

/** A script for zsh 5. It also works as a file of `fpath`. */
export function zshCompletion(table: readonly CommandRow[]): string {
  const program = table[0]!.path;
  return `#compdef ${program}
# Completion of ${program} for zsh, as "${program} completion zsh" prints it.

${table.map((row) => commandFunction(row, table)).join('\n')}
if [ "$funcstack[1]" = "_${program}" ]; then
  _${program} "$@"
else
  compdef _${program} ${program}
fi
`;
}

/** A function for each command. A command with others below it calls their functions for the words after their name. */
function commandFunction(row: CommandRow, table: readonly CommandRow[]): string {
  const name = functionOf(row.path);
  const specs = row.options.map(optionSpec);
  if (row.children.length === 0) {
    return `${name}() {\n  _arguments -s -S \\\n    ${[...specs, ...row.arguments.map(argumentSpec)].join(' \\\n    ')}\n}\n`;
  }
  const commands = row.children.map((child) => {
    const text = table.find(({ path }) => path === `${row.path} ${child}`)?.description ?? '';
    return `    ${quote(`${child}:${text}`)}\n`;
  });
  const calls = row.children.map((child) => `        ${child}) ${functionOf(`${row.path} ${child}`)} ;;\n`);
  return `${name}() {
  local curcontext="$curcontext" state line
  local -a commands=(
${commands.join('')}  )
  _arguments -C -S \\
    ${[...specs, quote('1: :->command'), quote('*:: :->rest')].join(' \\\n    ')}
  case $state in
    command) _describe command commands ;;
    rest)
      case $line[1] in
${calls.join('')}      esac
      ;;
  esac
}
`;
}

function functionOf(path: string): string {
  return `_${path.replaceAll(/[ -]/g, '_')}`;
}

function optionSpec({ long, short, text, value }: OptionRow): string {
  const what = `[${text.replace(/[\\[\]]/g, '\\$&')}]`;
  const value_ = value === undefined ? '' : `:value:${action(value)}`;
  const equals = value === undefined ? '' : '=';
  if (short === undefined) return quote(`${long}${equals}${what}${value_}`);
  return `'(${short} ${long})'{${short},${long}${equals}}${quote(`${what}${value_}`)}`;
}

function argumentSpec({ usage, value }: ArgumentRow): string {
  const name = usage.replace(/[<>[\].]/g, '');
  if (usage.includes('...')) return quote(`*:${name}:${action(value)}`);
  return quote(`${usage.startsWith('[') ? ':' : ''}:${name}:${action(value)}`);
}

function action(value: ValueKind): string {
  if (value.kind === 'words') return `(${value.words.join(' ')})`;
  return { text: ' ', file: '_files', directory: '_files -/' }[value.kind];
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
