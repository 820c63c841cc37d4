import { hash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { codeOf, messageOf } from '../errors.ts';
import { digestBytes } from '../formats/chunk-columns.ts';
import { readSpan } from '../formats/gzip/read-span.ts';
import type { LayerIndexFile } from '../formats/layer-index-file/decode.ts';
import { openWindow } from '../formats/layer-index-file/stored-windows.ts';
import type { IndexEntry } from '../formats/layer-index.ts';
import { spanKinds } from '../formats/blob-spans.ts';
import type { Blob } from '../registry/blob/blob.ts';
import { RegistryError } from '../registry/errors.ts';
import { printable } from '../util/printable.ts';

/** An index to compare, and the bytes [start, end) of its file. */
export interface GivenIndex {
  readonly content: LayerIndexFile;
  readonly read: (start: number, end: number) => Promise<Buffer>;
}

/** Maximum number of problems to report for one index. */
const maxProblems = 10;

/** Bytes of an uncompressed tar that are read at a time. */
const batchBytes = 8 << 20;

/**
 * Compares an index with the layer. Its entries and the places of their content are compared with an index that was
 * just made of the blob; every chunk is read from the blob by the given index, from each of its places.
 *
 * @param made made of the same blob, whose digest was compared
 * @returns what is wrong, ten problems at most; nothing if the index is right
 * @throws the errors of the registry
 */
export async function compareIndex(given: GivenIndex, made: LayerIndexFile, blob: Blob): Promise<string[]> {
  const problems = [...sizeProblems(given.content, made), ...entryProblems(given.content, made)].slice(0, maxProblems);
  if (problems.length === 0) {
    const chunks = given.content.compression === 'none' ? storedChunks(given, blob) : spanChunks(given, made, blob);
    for await (const problem of chunks) if (problems.push(problem) === maxProblems) break;
  }
  return problems;
}

function* sizeProblems(given: LayerIndexFile, made: LayerIndexFile): Generator<string> {
  for (const field of ['compression', 'blobBytes', 'tarBytes'] as const) {
    if (given[field] !== made[field]) yield `its ${field} is ${given[field]}, and not ${made[field]}`;
  }
}

function* entryProblems(given: LayerIndexFile, made: LayerIndexFile): Generator<string> {
  const [entries, right] = [given.index.entries, made.index.entries];
  if (entries.length !== right.length) yield `it has ${entries.length} entries, and not ${right.length}`;
  for (const [i, entry] of entries.entries()) {
    const other = right[i];
    if (other === undefined) return;
    const name = `"${printable(Buffer.from(other.path, 'latin1').toString())}"`;
    if (!isDeepStrictEqual(plain(entry), plain(other))) yield `entry ${i}, ${name}, is another one`;
    else if (!isDeepStrictEqual(rangesOf(given, entry), rangesOf(made, other)))
      yield `the content of ${name} is elsewhere`;
  }
}

/** An entry without what depends on the chunk size. */
function plain(entry: IndexEntry): object {
  const xattrs = [...(entry.xattrs ?? [])].map(([name, value]) => [name, Buffer.from(value).toString('latin1')]);
  return { ...entry, xattrs, firstChunk: 0, chunkCount: 0, diskOffset: undefined };
}

/** Where in the tar the content of a file is: ranges, each as far as it goes, and the place in the file. */
function rangesOf({ compression, index, spans }: LayerIndexFile, { firstChunk, chunkCount }: IndexEntry): number[][] {
  const ranges: number[][] = [];
  const { streamOffset, innerOffset, size, hole } = index.chunks;
  let place = 0;
  for (let row = firstChunk; row < firstChunk + chunkCount; row++) {
    place += hole[row]!;
    const base =
      compression === 'none' ? streamOffset[row]! : spans.outputOffset[spanAt(spans.streamOffset, streamOffset[row]!)]!;
    const start = base + innerOffset[row]!;
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === start && hole[row] === 0) last[1] = start + size[row]!;
    else ranges.push([start, start + size[row]!, place]);
    place += size[row]!;
  }
  return ranges;
}

/** The index of the span that begins there; spans are in ascending order. */
function spanAt(offsets: Float64Array, offset: number): number {
  let [low, high] = [0, offsets.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (offsets[middle]! <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Reads each span by itself, as a daemon does, and yields the problems. */
async function* spanChunks({ content, read }: GivenIndex, made: LayerIndexFile, blob: Blob): AsyncGenerator<string> {
  const needed = ends(made);
  let next = needed.next();
  const { spans, index } = content;
  const { streamOffset, innerOffset, size, digest } = index.chunks;
  let row = 0;
  for (let span = 0; span < spans.length; span++) {
    const first = row;
    const start = spans.streamOffset[span]!;
    let wanted = 0;
    for (; row < index.chunks.length && streamOffset[row] === start; row++)
      wanted = Math.max(wanted, innerOffset[row]! + size[row]!);
    if (wanted === 0) continue;
    try {
      const bytes = await bytesOf(blob, start, spans.streamEnd[span]!);
      const windowStart = spans.windowOffset[span]!;
      const stored = await read(windowStart, windowStart + spans.windowBytes[span]!);
      const kind = spans.kind[span] === spanKinds.window ? spanKinds.window : spanKinds.header;
      const digestOfWindow = spans.windowDigest.subarray(span * digestBytes, (span + 1) * digestBytes);
      const window = kind === spanKinds.window ? openWindow(stored, digestOfWindow) : Buffer.alloc(0);
      const output = readSpan({ bytes, kind, bits: spans.bits[span]!, window, wanted });
      for (let chunk = first; chunk < row; chunk++) {
        const data = output.subarray(innerOffset[chunk]!, innerOffset[chunk]! + size[chunk]!);
        if (!isRight(data, digest, chunk)) yield `chunk ${chunk} is not what its digest says`;
        const part = innerOffset[chunk]! + size[chunk]!;
        const tarEnd = spans.outputOffset[span]! + part;
        while (!next.done && next.value.tarEnd < tarEnd) next = needed.next();
        const blobEnd = index.chunks.streamEnd[chunk]!;
        if (!next.done && next.value.tarEnd === tarEnd && next.value.blobEnd <= blobEnd) continue;
        const enough = bytes.subarray(0, blobEnd - start);
        const read = readSpan({ bytes: enough, kind, bits: spans.bits[span]!, window, wanted: part });
        if (read.length < part) yield `chunk ${chunk} needs more of the layer than it says`;
      }
    } catch (error) {
      if (codeOf(error) !== 'DataLoss' || error instanceof RegistryError) throw error;
      yield `it cannot be read from place ${span}: ${messageOf(error)}`;
    }
  }
  if (row < index.chunks.length) yield `chunk ${row} is in no span`;
}

/** Up to where a blob suffices for the tar up to the end of each chunk. */
function* ends({ index: { chunks }, spans }: LayerIndexFile): Generator<{ tarEnd: number; blobEnd: number }> {
  let span = 0;
  for (let row = 0; row < chunks.length; row++) {
    while (spans.streamOffset[span] !== chunks.streamOffset[row]) span++;
    const tarEnd = spans.outputOffset[span]! + chunks.innerOffset[row]! + chunks.size[row]!;
    yield { tarEnd, blobEnd: chunks.streamEnd[row]! };
  }
}

/** The same for an uncompressed tar, of which many chunks are read at a time. */
async function* storedChunks({ content }: GivenIndex, blob: Blob): AsyncGenerator<string> {
  const { streamOffset, size, digest, length } = content.index.chunks;
  for (let first = 0, row = 0; first < length; first = row) {
    const start = streamOffset[first]!;
    for (row = first + 1; row < length && streamOffset[row]! + size[row]! - start <= batchBytes; row++);
    const bytes = await bytesOf(blob, start, streamOffset[row - 1]! + size[row - 1]!);
    for (let chunk = first; chunk < row; chunk++) {
      const at = streamOffset[chunk]! - start;
      if (!isRight(bytes.subarray(at, at + size[chunk]!), digest, chunk))
        yield `chunk ${chunk} is not what its digest says`;
    }
  }
}

function isRight(data: Buffer, digests: Uint8Array, chunk: number): boolean {
  return hash('sha256', data, 'buffer').equals(digests.subarray(chunk * digestBytes, (chunk + 1) * digestBytes));
}

async function bytesOf(blob: Blob, start: number, end: number): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(blob.range(start, end)));
}
