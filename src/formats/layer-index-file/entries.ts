import { LazypullError } from '../../errors.ts';
import type { ChunkColumns } from '../chunk-columns.ts';
import type { ByteString, IndexEntry } from '../layer-index.ts';
import { maxHoleBytes, maxTextBytes, xattrOverheadBytes } from '../limits.ts';
import { damaged, type NumberReader, unfold } from './numbers.ts';
import { nameOf, typeCodes } from './tables.ts';

const maxMode = 0o7777;
const maxId = 2 ** 32 - 1;
const maxNanoseconds = 999_999_999;
const maxMajor = 2 ** 12 - 1;
const maxMinor = 2 ** 20 - 1;

const types = Array.from({ length: Object.keys(typeCodes).length }, (_, code) => nameOf(typeCodes, code)!);

/**
 * Reads the entries of a layer index, whose regular files have `chunks` one after another.
 *
 * @param hasHoles whether files may have bytes that are in no chunk
 */
export function readEntries(
  reader: NumberReader,
  count: number,
  chunks: ChunkColumns,
  hasHoles: boolean,
): IndexEntry[] {
  const codes = reader.bytes(count);
  const modes = reader.column('mode', count, maxMode);
  const uids = reader.column('uid', count, maxId);
  const gids = reader.column('gid', count, maxId);
  const seconds = reader.column('mtimeSeconds', count);
  const nanoseconds = reader.column('mtimeNanoseconds', count, maxNanoseconds);
  const sizes = reader.column('size', count);
  const chunkCounts = reader.column('chunkCount', count, chunks.length);
  const majors = reader.column('devMajor', count, maxMajor);
  const minors = reader.column('devMinor', count, maxMinor);
  const texts = readTexts(reader, count);

  const entries: IndexEntry[] = [];
  let time = 0;
  let zeros = 0;
  let chunk = 0;
  for (let i = 0; i < count; i++) {
    const type = types[codes[i]!];
    if (type === undefined) throw damaged(`the type of entry ${i} is unknown`);
    time += unfold(seconds[i]!);
    if (!Number.isSafeInteger(time)) throw damaged(`the time of entry ${i} is out of range`);
    const entry: IndexEntry = {
      path: texts.paths[i]!,
      type,
      mode: modes[i]!,
      uid: uids[i]!,
      gid: gids[i]!,
      mtimeSeconds: time,
      mtimeNanoseconds: nanoseconds[i]!,
      size: sizes[i]!,
      linkTarget: texts.targets[i]!,
      devMajor: majors[i]!,
      devMinor: minors[i]!,
      xattrs: texts.xattrs[i],
      firstChunk: chunk,
      chunkCount: chunkCounts[i]!,
    };
    chunk += entry.chunkCount;
    if (!isConsistent(entry, chunks)) throw damaged(`entry ${i} is not what its type says`);
    zeros += zerosOf(entry, chunks);
    if (zeros > (hasHoles ? maxHoleBytes : 0)) throw damaged(`entry ${i} has too many zeros`);
    entries.push(entry);
  }
  if (chunk !== chunks.length) throw damaged('its files do not have all chunks');
  return entries;
}

function isConsistent(entry: IndexEntry, chunks: ChunkColumns): boolean {
  const { type, size, linkTarget, devMajor, devMinor, firstChunk, chunkCount } = entry;
  const isLink = type === 'symlink' || type === 'hardlink';
  const isDevice = type === 'char' || type === 'block';
  if ((linkTarget !== '') !== isLink || (!isDevice && (devMajor !== 0 || devMinor !== 0))) return false;
  if (type !== 'reg') return size === 0 && chunkCount === 0;
  if (firstChunk + chunkCount > chunks.length) return false;
  let bytes = 0;
  for (let row = firstChunk; row < firstChunk + chunkCount; row++) bytes += chunks.hole[row]! + chunks.size[row]!;
  return bytes <= size;
}

/** How many bytes of a file are in no chunk. */
function zerosOf({ size, firstChunk, chunkCount }: IndexEntry, chunks: ChunkColumns): number {
  let zeros = size;
  for (let row = firstChunk; row < firstChunk + chunkCount; row++) zeros -= chunks.size[row]!;
  return zeros;
}

interface Texts {
  readonly paths: readonly ByteString[];
  readonly targets: readonly ByteString[];
  readonly xattrs: readonly (IndexEntry['xattrs'] | undefined)[];
}

function readTexts(reader: NumberReader, count: number): Texts {
  const pathBytes = reader.column('path', count);
  const targetBytes = reader.column('linkTarget', count);
  const xattrCounts = reader.column('xattrs', count, reader.left);
  const xattrCount = sum(xattrCounts);
  if (xattrCount > reader.left) throw damaged('it ends too early');
  const nameBytes = reader.column('xattrName', xattrCount);
  const valueBytes = reader.column('xattrValue', xattrCount);
  const columns = [pathBytes, targetBytes, nameBytes, valueBytes];
  const bytes = columns.reduce((total, column) => total + sum(column), xattrCount * xattrOverheadBytes);
  if (bytes > maxTextBytes) {
    throw new LazypullError('ResourceExhausted', `The names in the layer index have more than ${maxTextBytes} bytes`);
  }
  const paths = strings(reader, pathBytes);
  const targets = strings(reader, targetBytes);
  const names = strings(reader, nameBytes);
  let at = 0;
  const xattrs = Array.from(xattrCounts, (own) => {
    if (own === 0) return undefined;
    const map = new Map<ByteString, Uint8Array>();
    for (const end = at + own; at < end; at++) map.set(names[at]!, Buffer.from(reader.bytes(valueBytes[at]!)));
    return map;
  });
  return { paths, targets, xattrs };
}

function strings(reader: NumberReader, lengths: Float64Array): ByteString[] {
  return Array.from(lengths, (length) => reader.bytes(length).toString('latin1'));
}

function sum(column: Float64Array): number {
  return column.reduce((total, value) => total + value, 0);
}
