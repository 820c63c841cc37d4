import type { CommandRow, ValueKind } from '../command-table.ts';

/** A script for bash 4.4 or later. */
export function bashCompletion(table: readonly CommandRow[]): string {
  const program = table[0]!.path;
  return `# Completion of ${program} for bash, as "${program} completion bash" prints it.

# What is known of a command: the commands below it, its options, and what follows those that take a value ("--root:directory")
# and is at each place of an argument.
_${program}_command() {
  commands= options= values= arguments=()
  case $1 in
${table.map(commandCase).join('')}  esac
}

_${program}() {
  local word=\${COMP_WORDS[COMP_CWORD]} path=${program} option= plain= count=0 i
  local commands options values arguments
  [[ $word != = ]] || word=
  _${program}_command "$path"
  for ((i = 1; i < COMP_CWORD; i++)); do
    local before=\${COMP_WORDS[i]}
    if [[ -n $option ]]; then
      [[ $before == = ]] || option=
    elif [[ -z $plain && $before == -- ]]; then
      plain=1
    elif [[ -z $plain && $before == -* ]]; then
      [[ " $values" != *" $before:"* ]] || option=$before
    elif [[ $count == 0 && " $commands " == *" $before "* ]]; then
      path+=" $before"
      _${program}_command "$path"
    else
      count=$((count + 1))
    fi
  done

  local kind=\${arguments[count]-}
  if [[ -n $option ]]; then
    kind=" $values"
    kind=\${kind#*" $option:"}
    kind=\${kind%% *}
  elif [[ -z $plain && $word == -* ]]; then
    kind="words:\${options// /|}"
  elif [[ $count == 0 && -n $commands ]]; then
    kind="words:\${commands// /|}"
  fi
  COMPREPLY=()
  case $kind in
    file) compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    directory) compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
    words:*) kind=\${kind#words:}; mapfile -t COMPREPLY < <(compgen -W "\${kind//|/ }" -- "$word") ;;
  esac
}

complete -F _${program} ${program}
`;
}

function commandCase({ path, children, options, arguments: places }: CommandRow): string {
  const flags = options.flatMap(({ long, short }) => (short === undefined ? [long] : [short, long]));
  const values = options.flatMap(({ long, value }) => (value === undefined ? [] : [`${long}:${kindText(value)}`]));
  const lines = [
    ...(children.length > 0 ? [`commands='${children.join(' ')}'`] : []),
    `options='${flags.join(' ')}'`,
    ...(values.length > 0 ? [`values='${values.join(' ')}'`] : []),
    ...(places.length > 0 ? [`arguments=(${places.map(({ value }) => `'${kindText(value)}'`).join(' ')})`] : []),
  ];
  return `    '${path}')\n${lines.map((line) => `      ${line}\n`).join('')}      ;;\n`;
}

function kindText(value: ValueKind): string {
  return value.kind === 'words' ? `words:${value.words.join('|')}` : value.kind;
}
