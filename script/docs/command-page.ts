import { type CommandRow, isCall } from '../../src/cli/command-table.ts';
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

/** The page of all commands, in Markdown. */
export function commandPage(table: readonly CommandRow[]): string {
  const [program, ...commands] = table;
  const leaves = commands.filter(isCall);
  return (
    [
      `<!-- Made by "npm run gen:docs" from the command table; do not edit. -->`,
      `# The command line of ${program!.path}`,
      introduction,
      'Data goes to standard output, everything else to standard error. `--help`, which every command takes, says the same as this page.',
      `| Command | |\n|---|---|\n${leaves.map(({ path, description }) => `| [\`${path}\`](#${path.replaceAll(' ', '-')}) | ${cell(description)} |\n`).join('')}`.trimEnd(),
      '## Which daemon a command uses',
      rule,
      ...leaves.map(commandSection),
      '## Exit codes',
      listTable('Code', exitCodes),
      exitCodesOfOthers,
      '## Environment',
      listTable('Variable', environment),
      '## Files',
      listTable('File', files),
    ].join('\n\n') + '\n'
  );
}

function commandSection({ path, usage, description, notes, examples, arguments: places, options }: CommandRow): string {
  const rows = [...places, ...withoutHelp(options)].map(({ usage: name, text }) => ({ name, text }));
  return [
    `## ${path}`,
    /[.!?]$/.test(description) ? description : `${description}.`,
    `\`\`\`\n${usage}\n\`\`\``,
    ...(rows.length === 0 ? [] : [listTable('Argument', rows)]),
    ...(notes === '' ? [] : [notes]),
    ...(examples.length === 0 ? [] : [`\`\`\`sh\n${examples.join('\n')}\n\`\`\``]),
  ].join('\n\n');
}

function listTable(head: string, list: readonly Item[]): string {
  const rows = list.map(
    ({ name, text }) =>
      `| ${name
        .split(', ')
        .map((part) => `\`${part}\``)
        .join(', ')} | ${cell(text)} |\n`,
  );
  return `| ${head} | |\n|---|---|\n${rows.join('')}`.trimEnd();
}

/** Text in a cell of a table: what looks like HTML or a border is not. */
export function cell(text: string): string {
  const parts = text.replaceAll('\n', ' ').replaceAll('|', '\\|').split('`');
  return parts.map((part, i) => (i % 2 === 0 ? part.replaceAll('<', '&lt;') : part)).join('`');
}
