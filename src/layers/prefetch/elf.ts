/** Reads bytes of a file at an offset; may give fewer at its end. */
export type ReadFile = (offset: number, size: number) => Promise<Buffer>;

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NULL = 0;
const DT_NEEDED = 1;
const DT_STRTAB = 5;

const headerBytes = 64;
const programHeaderBytes = 56;
const maxProgramHeaders = 64;
const maxDynamicBytes = 64 * 1024;
const maxNeeded = 256;
const maxNameBytes = 256;

/** A program header: a part of the file, and its place in memory. */
export interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly bytes: number;
}

/**
 * The segments of a program or library. Undefined if it is not a 64-bit little-endian ELF file. (System V ABI, chapters
 * 4 and 5.)
 */
export async function readElf(read: ReadFile): Promise<Segment[] | undefined> {
  const header = await read(0, headerBytes);
  if (header.length < headerBytes || header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1)
    return undefined;
  return readSegments(read, header);
}

/** How much of the file's start is mapped when it is loaded; 0 if the file is invalid. */
export function loadedBytes(segments: readonly Segment[]): number {
  const ends = segments.filter(({ type }) => type === PT_LOAD).map(({ offset, bytes }) => offset + bytes);
  return Math.max(0, ...ends.filter((end) => Number.isSafeInteger(end)));
}

/**
 * The libraries that the dynamic linker will look for when a program starts: its interpreter (a path) and its DT_NEEDED
 * entries (names). Empty if the file is damaged.
 */
export async function neededLibraries(read: ReadFile, segments: readonly Segment[]): Promise<string[]> {
  const libraries: string[] = [];
  const interpreter = segments.find(({ type }) => type === PT_INTERP);
  if (interpreter !== undefined) libraries.push(await readString(read, interpreter.offset));
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  if (dynamic !== undefined) libraries.push(...(await readNeeded(read, dynamic, segments)));
  return libraries.filter((library) => library !== '');
}

async function readSegments(read: ReadFile, header: Buffer): Promise<Segment[]> {
  const count = Math.min(header.readUInt16LE(56), maxProgramHeaders);
  if (header.readUInt16LE(54) !== programHeaderBytes) return [];
  const table = await read(Number(header.readBigUInt64LE(32)), count * programHeaderBytes);
  const segments: Segment[] = [];
  for (let at = 0; at + programHeaderBytes <= table.length; at += programHeaderBytes) {
    segments.push({
      type: table.readUInt32LE(at),
      offset: Number(table.readBigUInt64LE(at + 8)),
      address: Number(table.readBigUInt64LE(at + 16)),
      bytes: Number(table.readBigUInt64LE(at + 32)),
    });
  }
  return segments;
}

async function readNeeded(read: ReadFile, dynamic: Segment, segments: readonly Segment[]): Promise<string[]> {
  const entries = await read(dynamic.offset, Math.min(dynamic.bytes, maxDynamicBytes));
  const names: number[] = [];
  let strings = -1;
  for (let at = 0; at + 16 <= entries.length; at += 16) {
    const tag = Number(entries.readBigUInt64LE(at));
    const value = Number(entries.readBigUInt64LE(at + 8));
    if (tag === DT_NULL) break;
    if (tag === DT_STRTAB) strings = value;
    if (tag === DT_NEEDED && names.length < maxNeeded) names.push(value);
  }
  const home = segments.find(
    ({ type, address, bytes }) => type === PT_LOAD && strings >= address && strings < address + bytes,
  );
  if (home === undefined) return [];
  const offset = home.offset + strings - home.address;
  return Promise.all(names.map((name) => readString(read, offset + name)));
}

async function readString(read: ReadFile, offset: number): Promise<string> {
  if (!Number.isSafeInteger(offset)) return '';
  const bytes = await read(offset, maxNameBytes);
  const end = bytes.indexOf(0);
  return end < 0 ? '' : bytes.toString('latin1', 0, end);
}
