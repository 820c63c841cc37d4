import type { CacheAccess, CachedLayer, ListedLayer, VerifiedLayer } from '../layers/cache/cache-access.ts';
import { TraceStore } from '../layers/prefetch/trace.ts';
import { type Paint, painter, plain } from '../util/colour.ts';
import { jsonLine } from '../util/printable.ts';
import { durationOf, sizeOf } from './amounts.ts';
import { age, shorten, sizeText, table } from './value-text.ts';
import type { Environment } from './environment.ts';
import { ExitError, printText } from './output.ts';
import { checkUsage } from './usage-error.ts';
import { CliCommand } from './command.ts';
import { chooseDaemon, type DaemonUse, whichDaemon } from './which-daemon.ts';

interface Options {
  root?: string;
  address?: string;
  json?: boolean;
}

/**
 * `lazypull cache ls
 * prune
 * verify`: the layer files on this machine, with a running daemon or without one.
 */
export function cacheCommand(environment: Environment): CliCommand {
  const cache = new CliCommand('cache').description('Show, remove and verify the layers that are kept on disk');
  const open = async (
    options: Options,
    use: DaemonUse = 'reads',
  ): Promise<{ root: string; access: CacheAccess & AsyncDisposable }> => {
    const { openCache } = await import('../daemon/open-cache.ts');
    const { root, address } = await whichDaemon(options, environment, use);
    return { root, access: await openCache(root, address) };
  };
  subcommand(cache, 'ls')
    .description('Show the layers that are kept, the longest unused first')
    .explain('', ['lazypull cache ls', 'lazypull cache ls --json | jq -s "map(.bytes) | add"'])
    .action(async (options: Options) => {
      await using access = (await open(options)).access;
      const layers = await Array.fromAsync(access.list());
      print(options, layers, listText(layers, Date.now()));
    });
  subcommand(cache, 'prune')
    .description('Remove layers that no snapshot uses, the longest unused first')
    .option('--older-than <time>', 'only those that were not used for this time, such as 90m, 12h or 7d')
    .option('--keep-bytes <size>', 'keep so much of what was used last, such as 20GB')
    .option('--all', 'remove the access traces of all layers too')
    .explain('', ['lazypull cache prune --older-than 7d', 'lazypull cache prune --keep-bytes 20GB'])
    .action(async (options: Options & { olderThan?: string; keepBytes?: string; all?: boolean }) => {
      const limits = checkUsage(() => ({
        unusedMs: durationOf(options.olderThan ?? '0s'),
        keepBytes: sizeOf(options.keepBytes ?? '0'),
      }));
      const { root, access } = await open(options, 'changes');
      await using _ = access;
      const removed = await Array.fromAsync(access.prune(limits));
      if (options.all === true) await new TraceStore(root).clear();
      print(options, removed, pruneText(removed));
    });
  subcommand(cache, 'verify')
    .description(
      'Read all that is kept and compare it with its digests; what is damaged is fetched again when it is read',
    )
    .explain('The exit code is 0 if all is well and 1 if something was damaged.', ['lazypull cache verify'])
    .action(async (options: Options) => {
      await using access = (await open(options)).access;
      let isWell = true;
      for await (const verified of access.verify()) {
        if (verified.found?.damaged !== 0) isWell = false;
        print(options, [verified], verifyText(verified, painter(process.stdout, environment.env)));
      }
      if (!isWell) throw new ExitError(1);
    });
  return cache;
}

function subcommand(cache: CliCommand, name: string): CliCommand {
  return chooseDaemon(cache.command(name)).option('--json', 'print JSON, one object a line');
}

function print({ json }: Options, values: readonly object[], text: string): void {
  printText(json === true ? values.map((value) => jsonLine(value)).join('') : text);
}

/** `nowMs` is the time in milliseconds since 1970. */
export function listText(layers: readonly ListedLayer[], nowMs: number): string {
  const rows = layers.map(({ digest, bytes, contentBytes, presentBytes, lastUsedMs, inUse }) => [
    shorten(digest),
    sizeText(bytes),
    `${sizeText(presentBytes)} of ${sizeText(contentBytes)}`,
    inUse ? 'in use' : `${age(nowMs - lastUsedMs)} ago`,
  ]);
  const total = layers.reduce((sum, { bytes }) => sum + bytes, 0);
  const unused = layers.reduce((sum, { bytes, inUse }) => sum + (inUse ? 0 : bytes), 0);
  const last = `${countText(layers.length)}, ${sizeText(total)} on disk, ${sizeText(unused)} not in use\n`;
  return table([['LAYER', 'ON DISK', 'HERE', 'LAST USED'], ...rows]) + last;
}

export function pruneText(removed: readonly CachedLayer[]): string {
  const lines = removed.map(({ digest, bytes }) => `${digest}  ${sizeText(bytes)}\n`);
  const bytes = removed.reduce((sum, layer) => sum + layer.bytes, 0);
  return `${lines.join('')}removed ${countText(removed.length)}, ${sizeText(bytes)}\n`;
}

export function verifyText({ layer, found }: VerifiedLayer, paint: Paint = plain): string {
  if (found === undefined)
    return `${layer.digest}  cannot be read: ${layer.inUse ? 'it is in use' : 'it was removed'}\n`;
  const { parts, damaged } = found;
  return `${layer.digest}  ${damaged === 0 ? paint('good', `ok, ${parts} parts`) : paint('bad', `${damaged} of ${parts} parts damaged`)}\n`;
}

function countText(layers: number): string {
  return `${layers} ${layers === 1 ? 'layer' : 'layers'}`;
}
