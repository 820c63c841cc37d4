import { setTimeout as delay } from 'node:timers/promises';
import { explain } from '../errors.ts';
import type { FullStatus } from '../status/outcomes.ts';
import { painter } from '../util/colour.ts';
import { jsonLine } from '../util/printable.ts';
import { type Environment, exitCodes } from './environment.ts';
import { printable } from '../util/printable.ts';
import { FullScreen } from './full-screen.ts';
import { columnsOf, wrapped } from './screen.ts';
import { ExitError, write } from './output.ts';
import { statusText } from './status-text.ts';
import { CliCommand } from './command.ts';
import { chooseDaemon, type DaemonChoice, whichDaemon } from './which-daemon.ts';

const watchMs = 1000;

interface Options extends DaemonChoice {
  json?: boolean;
  watch?: boolean;
}

/** `lazypull status`: shows what a running daemon is doing. Throws if none answers. */
export function statusCommand(environment: Environment): CliCommand {
  const { env } = environment;
  return chooseDaemon(
    new CliCommand('status').description(
      'Show what a running daemon is doing: its layers, how much of each is here, what waits',
    ),
  )
    .option('--watch', 'show it again every second, until ctrl-C')
    .option('--json', 'print JSON, one object a line')
    .explain(
      'Below the layers stands how the daemon got those that have no table of contents of their own: by a layer index, and from where, or by a pull. Then come the layers that it left to the client, with the reason. The exit code is 0 if a daemon answers and is well, even if ctrl-C ends --watch. It is 1 if none answers or a line begins with PROBLEM. On a terminal, and if COLUMNS is set, names of images are shortened to fit into a line; otherwise they are not.',
      [
        'lazypull status --watch',
        "lazypull status --json | jq '.layers[].digest'",
        'lazypull status --address /run/lazypull/buildkit.sock',
      ],
    )
    .action(async (options: Options) => {
      const { StatusClient } = await import('../status/status-client.ts');
      const { withOutcomes } = await import('../status/outcomes.ts');
      const { address } = await whichDaemon(options, environment, 'asks');
      using client = new StatusClient(address);
      const ask = async (): Promise<FullStatus> => withOutcomes(await client.status(), await client.outcomes());
      const paint = painter(process.stdout, env);
      const text = (status: FullStatus, lines?: number) =>
        statusText(status, address, { nowMs: Date.now(), columns: columnsOf(process.stdout, env), lines, paint });
      if (options.watch === true && options.json !== true && process.stdout.isTTY && env.TERM !== 'dumb') {
        await watch(ask, text);
        return;
      }
      do {
        const status = await ask();
        const shown = options.json === true ? jsonLine({ address, ...status }) : text(status);
        await write(process.stdout, shown);
        if (options.watch === true) await delay(watchMs);
        else if (status.problems.length > 0) throw new ExitError(exitCodes.failure);
      } while (options.watch === true);
    });
}

/** Shows it on the whole terminal until ctrl-C, even while the daemon is away, and leaves the last status there. */
async function watch(
  ask: () => Promise<FullStatus>,
  text: (status: FullStatus, lines?: number) => string,
): Promise<void> {
  let status = await ask();
  let missing = '';
  {
    using screen = new FullScreen(process.stdout, () => {
      const notice = missing === '' ? '' : `${wrapped(printable(missing), columnsOf(process.stdout, {}) ?? 80)}\n`;
      return notice + text(status, (process.stdout.rows || 24) - notice.split('\n').length + 1);
    });
    while (!screen.ended.aborted) {
      await screen.draw();
      await delay(watchMs, undefined, { signal: screen.ended }).catch(() => undefined);
      if (screen.ended.aborted) break;
      try {
        status = await ask();
        missing = '';
      } catch (error) {
        missing = explain(error);
      }
    }
  }
  await write(process.stdout, text(status));
}
