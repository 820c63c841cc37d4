import type { LayerHow } from '../layers/layer-origin.ts';
import { refusalAdvice, type RefusalReason } from '../layers/resolve/refusal.ts';
import { fetchedBytesOf, type LayerUse } from '../layers/uses/layer-use.ts';
import type { PrepareOutcome } from '../snapshots/prepare-history.ts';
import type { UsesStatus } from './status.ts';

/** What a layer did for an image. */
export interface ReportedLayer {
  readonly digest: string;
  /** How the daemon got it; undefined if it was left to the client. */
  readonly how: LayerHow | undefined;
  /** The same in words, or why it was left to the client, and what to do; '' for nothing. */
  readonly text: string;
  readonly reason: RefusalReason | undefined;
  readonly advice: string;
  /** Undefined for a layer that was left to the client. */
  readonly use: LayerUse | undefined;
}

/** A use of an image: layers that were asked for at about the same time. */
export interface ReportedImage {
  /** As the client named it; '' if it did not. */
  readonly reference: string;
  /** Milliseconds since 1970; `endedMs` is undefined while a layer is mounted. */
  readonly startedMs: number;
  readonly endedMs: number | undefined;
  readonly layers: readonly ReportedLayer[];
  readonly totals: Totals;
}

/** Sums over layers. Times are in milliseconds. */
export interface Totals {
  /** Layers, and how many of them were left to the client. */
  readonly layers: number;
  readonly refused: number;
  /** Bytes that were fetched. */
  readonly fetchedBytes: number;
  /** Bytes of the blobs of the layers that the daemon served, but for mounts of which it knows only a part. */
  readonly blobBytes: number;
  /** What a pull would have fetched more; below 0 if it would have fetched less. */
  readonly savedBytes: number;
  /** The size of the parts of files that were read. */
  readonly readBytes: number;
  readonly waits: number;
  /** For each layer how long at least one reader waited for it. */
  readonly waitedMs: number;
  readonly longestWaitMs: number;
  readonly errors: number;
}

/** What builds and containers did on a machine. */
export interface Report {
  /** Since when it counts, in milliseconds since 1970. */
  readonly sinceMs: number;
  /** The latest first. */
  readonly images: readonly ReportedImage[];
  /** Of all images that are shown, each layer once. */
  readonly totals: Totals;
  /** How many earlier uses of images are not shown. */
  readonly more: number;
}

/** Layers of an image belong to one use of it if they were first mounted within this time. */
const togetherMs = 10 * 60_000;

/**
 * Puts together what layers did and what became of calls for them.
 *
 * @param outcomes the outcomes of Prepare; those of layers that became lazy are ignored
 * @param last how many uses of images to show
 */
export function makeReport({ sinceMs, uses }: UsesStatus, outcomes: readonly PrepareOutcome[], last: number): Report {
  const groups: Group[] = [];
  const entries = [
    ...uses.flatMap((use) => named(use).map((reference) => ({ reference, atMs: use.startedMs, layer: ofUse(use) }))),
    ...outcomes
      .filter(({ reason }) => reason !== undefined)
      .map((outcome) => ({ reference: outcome.reference, atMs: outcome.atMs, layer: ofOutcome(outcome) })),
  ];
  for (const { reference, atMs, layer } of entries.toSorted((a, b) => a.atMs - b.atMs)) {
    const group = groups.findLast((each) => each.reference === reference);
    const fits = group !== undefined && atMs - group.lastMs <= togetherMs && !group.layers.has(layer.digest);
    if (fits) {
      group.layers.set(layer.digest, layer);
      group.lastMs = atMs;
    } else {
      groups.push({ reference, startedMs: atMs, lastMs: atMs, layers: new Map([[layer.digest, layer]]) });
    }
  }
  const images = groups
    .toSorted((a, b) => b.startedMs - a.startedMs)
    .slice(0, last)
    .map(imageOf);
  const shown = new Map(images.flatMap(({ layers }) => layers.map((layer) => [layer.use ?? layer, layer])));
  return { sinceMs, images, totals: totalsOf([...shown.values()]), more: groups.length - images.length };
}

/** What a pull of a layer would have fetched more; undefined if it is not known. */
export function savedBytesOf(use: LayerUse): number | undefined {
  return use.isLeft ? undefined : use.blobBytes - fetchedBytesOf(use);
}

interface Group {
  readonly reference: string;
  readonly startedMs: number;
  lastMs: number;
  readonly layers: Map<string, ReportedLayer>;
}

function named({ references }: LayerUse): readonly string[] {
  return references.length === 0 ? [''] : references;
}

function ofUse(use: LayerUse): ReportedLayer {
  const { digest, how, howText } = use;
  return { digest, how, text: howText, reason: undefined, advice: '', use };
}

function ofOutcome({ digest, reason = 'other', message }: PrepareOutcome): ReportedLayer {
  return { digest, how: undefined, text: message, reason, advice: refusalAdvice[reason], use: undefined };
}

function imageOf({ reference, startedMs, layers }: Group): ReportedImage {
  const all = [...layers.values()];
  const uses = all.flatMap(({ use }) => use ?? []);
  const isOpen = uses.some(({ endedMs }) => endedMs === undefined);
  const endedMs = isOpen ? undefined : uses.reduce((last, use) => Math.max(last, use.endedMs ?? 0), startedMs);
  return { reference, startedMs, endedMs, layers: all, totals: totalsOf(all) };
}

function totalsOf(layers: readonly ReportedLayer[]): Totals {
  const uses = layers.flatMap(({ use }) => use ?? []);
  const sum = (of: (use: LayerUse) => number): number => uses.reduce((total, use) => total + of(use), 0);
  return {
    layers: layers.length,
    refused: layers.length - uses.length,
    blobBytes: sum((use) => (use.isLeft ? 0 : use.blobBytes)),
    fetchedBytes: sum(fetchedBytesOf),
    savedBytes: sum((use) => savedBytesOf(use) ?? 0),
    readBytes: sum((use) => use.readBytes),
    waits: sum((use) => use.waits),
    waitedMs: sum((use) => use.waitedMs),
    longestWaitMs: uses.reduce((longest, use) => Math.max(longest, use.longestWaitMs), 0),
    errors: sum((use) => use.errors),
  };
}
