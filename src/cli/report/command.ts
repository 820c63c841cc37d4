import { hostname } from 'node:os';
import { InvalidArgumentError } from 'commander';
import { errnoOf, LazypullError, messageOf } from '../../errors.ts';
import { replaceFile } from '../../kernel/replace-file.ts';
import { cellsOf } from '../../layers/uses/read-strip.ts';
import { makeReport, type Report } from '../../status/report.ts';
import { painter } from '../../util/colour.ts';
import { jsonLine } from '../../util/printable.ts';
import { CliCommand } from '../command.ts';
import type { Environment } from '../environment.ts';
import { say, write } from '../output.ts';
import { columnsOf } from '../screen.ts';
import { chooseDaemon, type DaemonChoice, whichDaemon } from '../which-daemon.ts';
import { reportPage } from './report-page.ts';
import { reportText } from './report-text.ts';

/** How many uses of images are shown, if nothing is said. */
const defaultLast = 10;

interface Options extends DaemonChoice {
  last: number;
  html?: string;
  json?: boolean;
}

/** `lazypull report`: says what builds did on this machine. Throws if no daemon answers. */
export function reportCommand(environment: Environment): CliCommand {
  const { env, name } = environment;
  return chooseDaemon(
    new CliCommand('report').description(
      'Show what builds and containers did on this machine: what of each image was read, fetched and waited for',
    ),
  )
    .option('--last <n>', 'show the last uses of images', countOf, defaultLast)
    .option('--html <file>', 'write a page with pictures into a file instead, which a browser shows without a network')
    .option('--json', 'print JSON, all in one object')
    .explain(
      'A use of an image begins when its layers are mounted and ends when they are unmounted: several builds on an image that stays mounted are one use. The daemon remembers the last 1024 uses of layers, and goes on counting after a restart. Layers that it left to the client it remembers until it ends.',
      [
        'lazypull report --last 3',
        'lazypull report --html report.html',
        "lazypull report --json | jq '.images[] | [.reference, .totals.savedBytes]'",
      ],
    )
    .action(async (options: Options) => {
      const { StatusClient } = await import('../../status/status-client.ts');
      const { address } = await whichDaemon(options, environment, 'asks');
      using client = new StatusClient(address);
      const uses = await client.uses();
      const report = makeReport(uses, await client.outcomes(), options.last);
      if (options.html !== undefined) {
        await writePage(options.html, reportPage(report, hostname(), Date.now()));
        say(name, `Wrote "${options.html}"`);
      }
      if (options.json === true) await write(process.stdout, jsonLine({ address, ...jsonOf(report) }));
      else if (options.html === undefined) {
        await write(process.stdout, reportText(report, columnsOf(process.stdout, env), painter(process.stdout, env)));
      }
    });
}

function countOf(text: string): number {
  if (!/^[1-9][0-9]{0,5}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1 to 999999.');
  return Number(text);
}

async function writePage(path: string, page: string): Promise<void> {
  try {
    await replaceFile(path, page, { mode: 0o644 });
  } catch (cause) {
    throw new LazypullError('Unavailable', `Cannot write "${path}": ${errnoOf(cause) ?? messageOf(cause)}`, { cause });
  }
}

/** A report with the cells of its strips instead of their bytes. */
function jsonOf({ images, ...report }: Report): object {
  const layerOf = ({ use, ...layer }: Report['images'][number]['layers'][number]): object => ({
    ...layer,
    ...(use !== undefined && { use: { ...use, strip: use.strip && cellsOf(use.strip) } }),
  });
  return { ...report, images: images.map((image) => ({ ...image, layers: image.layers.map(layerOf) })) };
}
