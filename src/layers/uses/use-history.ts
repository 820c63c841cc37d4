import { errnoOf, LazypullError, messageOf } from '../../errors.ts';
import { readOwnFile } from '../../kernel/own-file.ts';
import { replaceFile } from '../../kernel/replace-file.ts';
import type { Log } from '../../log.ts';
import type { LayerOrigin } from '../layer-origin.ts';
import {
  type LayerActivity,
  type LayerUse,
  maxReferences,
  nothingFetched,
  storedUse,
  sumOfFetched,
  useOfStored,
} from './layer-use.ts';
import { joinStrips } from './read-strip.ts';

/** How many uses are remembered. */
export const maxUses = 1024;

/** A longer file was not written by us: a use takes 2 kB at most times. */
const maxFileBytes = 16 << 20;

/** How long after a change the file is written: what a daemon that is killed forgets. */
const saveAfterMs = 60_000;

/** What the history has to know of a layer. */
export interface UsedLayer {
  readonly record: { readonly digest: string; readonly blobBytes: number };
  readonly origin: LayerOrigin;
  readonly openedMs: number;
  /** Whether all of it is on the disk. */
  readonly complete: boolean;
  activity(): Promise<LayerActivity>;
}

/** A use that goes on. */
export interface OpenUse {
  readonly layer: UsedLayer;
  readonly references: ReadonlySet<string>;
  readonly startedMs: number;
  readonly isLeft: boolean;
  readonly isWhole: boolean;
  /** The same use in an earlier life of the daemon. */
  readonly before: LayerUse | undefined;
  /** The layer has no mounts any more. It must still be open. Never rejects. */
  end(): Promise<void>;
}

/**
 * Remembers what the layers of this machine did, the last uses of them, in memory and in a file. It costs readers
 * nothing: what it tells is counted where data is fetched.
 */
export class UseHistory {
  /** Since when it remembers, in milliseconds since 1970. */
  #sinceMs = Date.now();
  readonly #path: string;
  readonly #log: Log;
  #past: LayerUse[] = [];
  readonly #open = new Set<OpenUse>();
  #timer: NodeJS.Timeout | undefined;
  #saving: Promise<void> = Promise.resolve();

  /** Reads what an earlier life has stored at `path`. What cannot be read is forgotten, and that is logged. */
  static load(path: string, log: Log): UseHistory {
    const history = new UseHistory(path, log);
    try {
      const { sinceMs, uses } = readUses(path);
      history.#sinceMs = sinceMs;
      // Those that go on are begun again.
      history.#past = uses.map((use) => ({ ...use, endedMs: use.endedMs ?? Date.now() }));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') log.warn({ path, error: messageOf(error) }, 'cannot read what layers did');
    }
    return history;
  }

  private constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  get sinceMs(): number {
    return this.#sinceMs;
  }

  /**
   * A layer was mounted for the first time.
   *
   * @param references its images, now and later
   * @param isRestored whether it is a mount of an earlier life, whose use goes on
   */
  begin(layer: UsedLayer, references: ReadonlySet<string>, isRestored: boolean): OpenUse {
    const { digest } = layer.record;
    const at = isRestored ? this.#past.findLastIndex((use) => use.digest === digest) : -1;
    const [before] = at < 0 ? [] : this.#past.splice(at, 1);
    const use: OpenUse = {
      layer,
      references,
      startedMs: before?.startedMs ?? Date.now(),
      isLeft: before?.isLeft ?? isRestored,
      isWhole: layer.complete,
      before,
      end: () => this.#end(use),
    };
    this.#open.add(use);
    this.#saveSoon();
    return use;
  }

  /** The uses, those that go on last. Looks at every chunk of these. */
  async list(): Promise<LayerUse[]> {
    const open: LayerUse[] = [];
    for (const use of this.#open) open.push(await recordOf(use));
    return [...this.#past, ...open].slice(-maxUses);
  }

  /** Writes the file now. Never rejects. */
  save(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#saving = this.#saving.then(() => this.#write());
    return this.#saving;
  }

  /** Writes the file for the last time. */
  async close(): Promise<void> {
    if (this.#timer !== undefined || this.#open.size > 0) await this.save();
    await this.#saving;
  }

  async #end(use: OpenUse): Promise<void> {
    const ended = await recordOf(use);
    if (!this.#open.delete(use)) return;
    this.#past.push({ ...ended, endedMs: Date.now() });
    if (this.#past.length > maxUses) this.#past.shift();
    this.#saveSoon();
  }

  #saveSoon(): void {
    this.#timer ??= setTimeout(() => void this.save(), saveAfterMs).unref();
  }

  async #write(): Promise<void> {
    try {
      const uses = (await this.list()).map(storedUse);
      await replaceFile(this.#path, `${JSON.stringify({ version: 1, sinceMs: this.#sinceMs, uses })}\n`);
    } catch (error) {
      this.#log.warn({ path: this.#path, error: messageOf(error) }, 'cannot store what layers did');
    }
  }
}

function readUses(path: string): { sinceMs: number; uses: LayerUse[] } {
  const stored = JSON.parse(readOwnFile(path, maxFileBytes)) as {
    version?: unknown;
    sinceMs?: unknown;
    uses?: unknown;
  };
  const { version, sinceMs, uses } = stored ?? {};
  if (version !== 1 || typeof sinceMs !== 'number' || !Array.isArray(uses)) {
    throw new LazypullError('DataLoss', 'The file is not of this version');
  }
  return { sinceMs, uses: uses.slice(-maxUses).flatMap((use: unknown) => useOfStored(use) ?? []) };
}

/** What a use did until now. If the layer's files cannot be read, its sizes are 0. */
async function recordOf({ layer, references, startedMs, isLeft, isWhole, before }: OpenUse): Promise<LayerUse> {
  const { record, origin, openedMs } = layer;
  const activity = await layer.activity().catch(() => noActivity);
  const use: LayerUse = {
    ...activity,
    digest: record.digest,
    references: [...references],
    startedMs,
    endedMs: undefined,
    how: origin.how,
    howText: origin.text,
    blobBytes: record.blobBytes,
    isLeft,
    isWhole,
  };
  return before === undefined ? use : joined(before, use, openedMs - startedMs);
}

const noActivity: LayerActivity = {
  contentBytes: 0,
  presentBytes: 0,
  readBytes: 0,
  fetched: nothingFetched,
  waits: 0,
  waitedMs: 0,
  longestWaitMs: 0,
  errors: 0,
  strip: undefined,
};

function joined(before: LayerUse, after: LayerUse, laterMs: number): LayerUse {
  const strip =
    before.strip !== undefined && after.strip !== undefined
      ? joinStrips(before.strip, after.strip, laterMs)
      : (after.strip ?? before.strip);
  return {
    ...after,
    how: before.how,
    howText: before.howText,
    references: [...new Set([...before.references, ...after.references])].slice(0, maxReferences),
    isWhole: before.isWhole && after.isWhole,
    readBytes: Math.max(before.readBytes, after.readBytes),
    fetched: sumOfFetched(before.fetched, after.fetched),
    waits: before.waits + after.waits,
    waitedMs: before.waitedMs + after.waitedMs,
    longestWaitMs: Math.max(before.longestWaitMs, after.longestWaitMs),
    errors: before.errors + after.errors,
    strip,
  };
}
