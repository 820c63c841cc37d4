import type { LayerUse } from '../../layers/uses/layer-use.ts';
import type { ReportedLayer, Totals } from '../../status/report.ts';
import { sizeText } from '../value-text.ts';

/** Milliseconds for people: `850 ms`, `1.2 s`, `3m 20s`. */
export function waitText(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 99_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
}

/** A time as people and machines read it, to the second: `2026-11-30 20:11:05 UTC`. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').replace(/\..*/, ' UTC');
}

/** What was fetched, and how that compares with a pull. */
export function fetchedText({ fetchedBytes, blobBytes, savedBytes }: Totals): string {
  if (blobBytes === 0) return `fetched ${sizeText(fetchedBytes)}`;
  const text = `fetched ${sizeText(fetchedBytes)} of ${sizeText(blobBytes)}`;
  if (savedBytes < 0) return `${text}, ${sizeText(-savedBytes)} more than a pull`;
  return `${text}, ${Math.floor((100 * savedBytes) / blobBytes)} % saved`;
}

export function waitedText({ waits, waitedMs, longestWaitMs }: Totals): string {
  if (waits === 0) return 'no reader waited';
  return `readers waited ${waitText(waitedMs)} in ${waits} reads, ${waitText(longestWaitMs)} at most`;
}

/** Where a layer's data came from, as a word. */
export function howWord({ how, use }: ReportedLayer): string {
  if (how === undefined) return 'NOT LAZY';
  const words = { toc: 'lazy', index: 'lazy', pull: 'pulled', kept: 'kept' } as const;
  return use?.isLeft === true ? 'kept' : words[how];
}

/** What is to be said of a layer besides its numbers; '' for nothing. */
export function noteOf(use: LayerUse | undefined): string {
  if (use?.isWhole === true) return 'it was whole on the disk: reads are not seen';
  if (use?.isLeft === true) return 'it was mounted before the daemon began to count';
  return '';
}
