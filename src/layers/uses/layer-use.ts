import { isSha256 } from '../../chunks/digest.ts';
import { type LayerHow, layerHows } from '../layer-origin.ts';
import { type FetchReason, fetchReasons } from '../metrics.ts';
import { type ContentActivity, stripBytes } from './read-strip.ts';

/** What a layer did since it was opened. */
export interface LayerActivity extends ContentActivity {
  /** Bytes of the blob that were fetched, by reason. */
  readonly fetched: Readonly<Record<FetchReason, number>>;
  /** Reads that had to wait; how long at least one of them waited, and the longest of them, in milliseconds. */
  readonly waits: number;
  readonly waitedMs: number;
  readonly longestWaitMs: number;
  /** Reads that failed. */
  readonly errors: number;
}

/** A use of a layer: the time from its first mount to its last unmount, and what it did. */
export interface LayerUse extends LayerActivity {
  readonly digest: string;
  /** The images that it was mounted for, only a few. */
  readonly references: readonly string[];
  /** Milliseconds since 1970; `endedMs` is undefined while it is mounted. */
  readonly startedMs: number;
  readonly endedMs: number | undefined;
  readonly how: LayerHow;
  /** The same in words, for people. */
  readonly howText: string;
  readonly blobBytes: number;
  /**
   * Whether its mount began in an earlier life of the daemon of which nothing is known: what it saved cannot be told.
   */
  readonly isLeft: boolean;
  /** Whether it was complete when it was mounted: then the kernel reads the disk, and reads are not seen. */
  readonly isWhole: boolean;
}

/** Texts of a stored use are no longer than this, and it names no more images. */
const maxTextLength = 1024;
export const maxReferences = 8;

/** Bytes of a layer that was not fetched. */
export const nothingFetched: Readonly<Record<FetchReason, number>> = Object.freeze(
  Object.fromEntries(fetchReasons.map((reason) => [reason, 0])) as Record<FetchReason, number>,
);

/** All bytes that were fetched of a layer. */
export function fetchedBytesOf({ fetched }: Pick<LayerUse, 'fetched'>): number {
  return fetchReasons.reduce((sum, reason) => sum + fetched[reason], 0);
}

/** The bytes of both, by reason. */
export function sumOfFetched(a: LayerUse['fetched'], b: LayerUse['fetched']): Record<FetchReason, number> {
  const sum = { ...nothingFetched };
  for (const reason of fetchReasons) sum[reason] = a[reason] + b[reason];
  return sum;
}

/** A use as a value for JSON. */
export function storedUse({ strip, ...use }: LayerUse): object {
  return { ...use, strip: strip && Buffer.from(strip).toString('base64') };
}

/** A use that was stored; undefined if the value is none. */
export function useOfStored(value: unknown): LayerUse | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const use = value as Partial<Record<keyof LayerUse, unknown>>;
  const how = layerHows.find((each) => each === use.how);
  const text = (field: unknown): string => (typeof field === 'string' ? field.slice(0, maxTextLength) : '');
  const digest = text(use.digest);
  if (how === undefined || !isSha256(digest) || !Array.isArray(use.references)) return undefined;
  const number = (field: unknown): number =>
    typeof field === 'number' && Number.isFinite(field) && field >= 0 ? field : 0;
  const fetched = { ...nothingFetched };
  for (const reason of fetchReasons) fetched[reason] = number((use.fetched as typeof fetched | undefined)?.[reason]);
  const strip = new Uint8Array(Buffer.from(text(use.strip), 'base64'));
  return {
    digest,
    references: use.references.slice(0, maxReferences).map(text),
    startedMs: number(use.startedMs),
    endedMs: use.endedMs === undefined ? undefined : number(use.endedMs),
    how,
    howText: text(use.howText),
    blobBytes: number(use.blobBytes),
    isLeft: use.isLeft === true,
    isWhole: use.isWhole === true,
    contentBytes: number(use.contentBytes),
    presentBytes: number(use.presentBytes),
    readBytes: number(use.readBytes),
    fetched,
    waits: number(use.waits),
    waitedMs: number(use.waitedMs),
    longestWaitMs: number(use.longestWaitMs),
    errors: number(use.errors),
    strip: strip.length === stripBytes ? strip : undefined,
  };
}
