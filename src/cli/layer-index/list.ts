import { originText } from '../../indexes/index-origin.ts';
import type { StoredIndex } from '../../indexes/index-store.ts';
import { printable } from '../../util/printable.ts';
import { durationOf, sizeOf } from '../amounts.ts';
import type { Environment } from '../environment.ts';
import { age, shorten, sizeText, table } from '../value-text.ts';
import { checkUsage } from '../usage-error.ts';
import type { CliCommand } from '../command.ts';
import { countText, openPlace, print, storeOptions, type StoreOptions } from './index-places.ts';

/** `lazypull index ls`: lists the indexes on this machine. */
export function addList(parent: CliCommand, environment: Environment): void {
  storeOptions(parent.command('ls'))
    .description('Show the layer indexes that are kept on this machine, the longest unused first')
    .explain('', ['lazypull index ls', 'lazypull index ls --json | jq .layer'])
    .action(async (options: StoreOptions) => {
      const { store } = await openPlace(options, environment, 'reads');
      const indexes = await store.list();
      print(options, indexes.map(rowOf), listText(indexes, store.directory, Date.now()));
    });
}

/** `lazypull index prune`. */
export function addPrune(parent: CliCommand, environment: Environment): void {
  storeOptions(parent.command('prune'))
    .description('Remove layer indexes from this machine, the longest unused first')
    .option('--older-than <time>', 'only those that were not used for this time, such as 90m, 12h or 7d')
    .option('--keep-bytes <size>', 'keep so much of what was used last, such as 1GB')
    .explain(
      'Without an option all are removed. A layer whose index is removed stays lazy while it is on this machine. What is in a repository stays there.',
      ['lazypull index prune --older-than 30d'],
    )
    .action(async (options: StoreOptions & { olderThan?: string; keepBytes?: string }) => {
      const limits = checkUsage(() => ({
        unusedMs: durationOf(options.olderThan ?? '0s'),
        keepBytes: sizeOf(options.keepBytes ?? '0'),
      }));
      const { store } = await openPlace(options, environment, 'changes');
      const removed = await store.prune(limits);
      const lines = removed.map(({ layer, size }) => `${layer}  ${sizeText(size)}\n`);
      print(
        options,
        removed.map(rowOf),
        `${lines.join('')}removed ${countText(removed.length)}, ${sizeText(bytesOf(removed))}\n`,
      );
    });
}

/** An index for programs. */
export function rowOf({ layer, digest, size, origin, signature, keptMs, lastUsedMs }: StoredIndex): object {
  return {
    layer,
    digest,
    bytes: size,
    from: origin.kind,
    where: origin.where,
    signedBy: signature?.key,
    keptMs,
    lastUsedMs,
  };
}

/** `directory` is where they are, and `nowMs` the time in milliseconds since 1970. */
export function listText(indexes: readonly StoredIndex[], directory: string, nowMs: number): string {
  const rows = indexes.map(({ layer, size, lastUsedMs, origin, signature }) => [
    shorten(layer),
    sizeText(size),
    `${age(nowMs - lastUsedMs)} ago`,
    signature === undefined ? originText(origin) : `${originText(origin)}, signed by key ${signature.key}`,
  ]);
  const last = `${countText(indexes.length)}, ${sizeText(bytesOf(indexes))} in ${printable(directory)}\n`;
  return table([['LAYER', 'SIZE', 'LAST USED', 'FROM'], ...rows]) + last;
}

function bytesOf(indexes: readonly StoredIndex[]): number {
  return indexes.reduce((sum, { size }) => sum + size, 0);
}
