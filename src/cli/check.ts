import { type DaemonFlags, defaults } from '../config/load.ts';
import type { CheckResult } from '../doctor/check-result.ts';
import { type Paint, painter, plain } from '../util/colour.ts';
import { jsonLine, printable } from '../util/printable.ts';
import type { Environment } from './environment.ts';
import { columnsOf, fitted } from './screen.ts';
import { ExitError, printText } from './output.ts';
import { tools } from './tools.ts';
import { CliCommand } from './command.ts';
import { chooseDaemon, whichDaemon } from './which-daemon.ts';

/** `lazypull check`: whether this machine has everything that a daemon needs. */
export function checkCommand(environment: Environment): CliCommand {
  return chooseDaemon(
    new CliCommand('check').description(
      'Check by real mounts that this machine has what the daemon needs, and say how to fix what is wrong',
    ),
  )
    .option('--config <file>', `config.toml (default: ${defaults.config}, which may be missing)`)
    .option('--json', 'print JSON, one object for each result')
    .explain(
      `It mounts in a temporary directory beside the root, and unmounts everything again.
The exit code is 0 if everything that is needed is right, and 1 if something is not. A warning is about something that a daemon
can run with, but not at its best.`,
      ['lazypull check', 'lazypull check --root /data/lazypull --json | jq \'select(.state == "wrong")\''],
    )
    .action(async ({ json, ...flags }: DaemonFlags & { address?: string; root?: string; json?: boolean }) => {
      const { check } = await import('../doctor/check.ts');
      const { env } = environment;
      const daemon = await whichDaemon(flags, environment, 'asks');
      const results = await check({ flags: { ...flags, ...daemon }, env, tools });
      const paint = painter(process.stdout, env);
      const columns = columnsOf(process.stdout, env);
      for (const result of results) {
        printText(json === true ? jsonLine(result) : resultText(result, paint, columns));
      }
      if (results.some(({ state }) => state === 'wrong')) throw new ExitError(1);
    });
}

const marks = {
  right: ['good', 'ok   '],
  warning: ['warning', 'warn '],
  wrong: ['bad', 'WRONG'],
  absent: ['quiet', '-    '],
} as const;

/** The lines of a result after its first one are indented to stand behind the mark. */
const indent = ' '.repeat(6);

/**
 * A result for people: a line for each line of its text, and one for the advice. If a line is longer than `columns`, it
 * is broken.
 */
export function resultText({ name, state, text, advice }: CheckResult, paint: Paint = plain, columns?: number): string {
  const [tone, mark] = marks[state];
  const lines = `${name}: ${text}${advice === '' ? '' : `\n${advice}`}`.split('\n');
  const room = columns === undefined ? undefined : columns - indent.length;
  const shown = lines
    .map((line) => fitted(printable(line), room))
    .join('\n')
    .replaceAll('\n', `\n${indent}`);
  return `${paint(tone, mark)} ${shown}\n`;
}
