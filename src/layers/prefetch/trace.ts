import { randomUUID } from 'node:crypto';
import { readdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { digestOfHex, hexOf, isSha256, isSha256Hex } from '../../chunks/digest.ts';
import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { errnoOf, LazypullError } from '../../errors.ts';
import { lowerBound } from '../../util/search.ts';
import type { BytesNeeded } from '../../formats/layer-format.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';
import { replaceFile } from '../../kernel/replace-file.ts';
import { makeDirectory } from '../../kernel/make-directory.ts';

/** The bytes of a layer's blob that a container read in its first seconds. */
export interface Trace {
  readonly version: 1;
  /** `sha256:<64 hex>` of the layer. */
  readonly digest: string;
  /** Blob ranges [start, end), ascending, not adjacent. */
  readonly ranges: readonly (readonly [start: number, end: number])[];
}

/** Two ranges with so few blob bytes between them are joined. */
const maxGapBytes = 32 << 10;

/** More ranges than a container can read in seconds over any link. */
const maxRanges = 4096;
const maxTraceBytes = 1 << 20;

/** The trace of the chunks that have been read: one byte a chunk, not 0 for these. */
export function traceOf(digest: string, table: ChunkTable, bytesNeeded: BytesNeeded, read: Uint8Array): Trace {
  const ranges: [number, number][] = [];
  for (let chunk = 0; chunk < table.length; chunk++) {
    if (Atomics.load(read, chunk) === 0) continue;
    const { start, end } = bytesNeeded(table, chunk);
    const last = ranges.at(-1);
    if (last !== undefined && start >= last[0] && start - last[1] <= maxGapBytes) last[1] = Math.max(last[1], end);
    else if (last === undefined || start > last[1]) ranges.push([start, end]);
  }
  return { version: 1, digest, ranges };
}

/** The chunks whose streams begin in the trace's ranges. */
export function chunksOfTrace(trace: Trace, table: ChunkTable): ChunkRange[] {
  return trace.ranges.map(([start, end]) => ({
    first: lowerBound(table.streamOffset, start),
    last: lowerBound(table.streamOffset, end),
  }));
}

/**
 * Parses the text of a trace file.
 *
 * @throws DataLoss that says what is wrong with it
 */
export function parseTrace(text: string): Trace {
  const wrong = (what: string) => new LazypullError('DataLoss', `Cannot use the trace: ${what}`);
  if (text.length > maxTraceBytes) throw wrong(`it is longer than ${maxTraceBytes} bytes`);
  let value: Partial<Trace> | null;
  try {
    value = JSON.parse(text) as Partial<Trace> | null;
  } catch {
    throw wrong('it is not JSON');
  }
  if (value?.version !== 1) throw wrong('its version is not 1');
  const { digest, ranges } = value;
  if (typeof digest !== 'string' || !isSha256(digest)) throw wrong('its digest is not a sha256 digest');
  if (!Array.isArray(ranges) || ranges.length > maxRanges) throw wrong(`it has no list of up to ${maxRanges} ranges`);
  let before = 0;
  for (const range of ranges as unknown[]) {
    const [start, end] = Array.isArray(range) && range.length === 2 ? (range as unknown[]) : [];
    if (!isOffset(start) || !isOffset(end) || start < before || end <= start) {
      throw wrong('its ranges are not ascending pairs of byte offsets');
    }
    before = end;
  }
  return { version: 1, digest, ranges: ranges as [number, number][] };
}

function isOffset(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The traces of a machine: a small file for each layer, named by its digest. They outlive the layers' data. */
export class TraceStore {
  readonly #directory: string;

  /** @param root the daemon's root */
  constructor(root: string) {
    this.#directory = join(root, 'traces');
  }

  /** The trace of a layer; undefined if there is none, or if it is damaged. */
  async load(digest: string): Promise<Trace | undefined> {
    try {
      const trace = parseTrace(await readFile(this.#path(digest), 'utf8'));
      return trace.digest === digest ? trace : undefined;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || error instanceof LazypullError) return undefined;
      throw new LazypullError('Unavailable', `Cannot read the trace of the layer ${digest}`, { cause: error });
    }
  }

  /** Stores a trace in place of the previous one. */
  async save(trace: Trace): Promise<void> {
    const path = this.#path(trace.digest);
    const temporary = `${path}.${randomUUID()}`;
    try {
      makeDirectory(this.#directory, 0o700);
      await replaceFile(path, `${JSON.stringify(trace)}\n`, { temporary });
    } catch (error) {
      throw new LazypullError('Unavailable', `Cannot write a trace into "${this.#directory}"`, { cause: error });
    }
  }

  /** Forgets all traces. */
  async clear(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** The digests of the layers with traces. */
  async digests(): Promise<string[]> {
    try {
      const names = await readdir(this.#directory);
      return names
        .map((name) => basename(name, '.json'))
        .filter(isSha256Hex)
        .map(digestOfHex);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw new LazypullError('Unavailable', `Cannot read the traces in "${this.#directory}"`, { cause: error });
    }
  }

  #path(digest: string): string {
    return join(this.#directory, `${hexOf(digest)}.json`);
  }
}
