import { LazypullError } from '../../errors.ts';
import type { ByteString, EntryType } from '../layer-index.ts';
import { blockBytes, type TarHeader } from './header.ts';
import { decodePaxInt64, decodePaxNumber, decodePaxTime, type PaxRecords } from './pax.ts';

/** Linux has 32 bits for ids. To chown(2) the highest means "unchanged": for a new file that is root. */
const idRange = 2 ** 32;
/** Linux packs a device number into 12 bits for the major and 20 for the minor; mknod(2) ignores others. */
const devMajorRange = 2 ** 12;
const devMinorRange = 2 ** 20;

/** One entry of a tar archive with all of its headers applied, and the original headers. */
export interface TarEntry {
  type: EntryType;
  /** As written: not cleaned; a directory's path may end with a slash. */
  path: ByteString;
  /** Target of a symlink or hard link, otherwise ''. */
  linkTarget: ByteString;
  /** 0 to 0o7777. */
  mode: number;
  uid: number;
  gid: number;
  userName: ByteString;
  groupName: ByteString;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  /** Length of the payload; 0 except for regular files. */
  size: number;
  devMajor: number;
  devMinor: number;
  xattrs: ReadonlyMap<ByteString, Buffer> | undefined;
  /** The global PAX headers before this entry. Usually empty. */
  globalHeaders: Buffer;
  /**
   * The header blocks of this entry alone: PAX header and GNU long names with their data, and the header itself. For a
   * sparse file, or a directory with data, they describe the output of `readPayload`.
   */
  headers: Buffer;
}

/** A DataLoss error that says where the archive is damaged. */
export function damaged(position: number, what: string): LazypullError {
  return new LazypullError('DataLoss', `Cannot read the tar archive at byte ${position}: ${what}`);
}

/** An empty value removes a record, as in pax(1). */
function withoutEmpty(records: PaxRecords): PaxRecords {
  return new Map([...records].filter(([key, value]) => value !== '' || key.startsWith(xattrPrefix)));
}

const xattrPrefix = 'SCHILY.xattr.';

export function toEntry(
  header: TarHeader,
  own: PaxRecords,
  longName: ByteString | undefined,
  longLink: ByteString | undefined,
  position: number,
): { entry: Omit<TarEntry, 'globalHeaders' | 'headers'>; storedBytes: number } {
  const records = withoutEmpty(own);
  const path = longName || (records.get('path') ?? header.name);
  const size = numberOf(records, 'size', position) ?? header.size;
  const type = typeOf(header.typeflag, path, position);
  const time = timeOf(records, header.mtime, position);
  const isLink = type === 'symlink' || type === 'hardlink';
  const linkTarget = isLink ? longLink || (records.get('linkpath') ?? header.linkName) : '';
  const entry = {
    type,
    path,
    linkTarget,
    mode: header.mode & 0o7777,
    uid: idOf(idRecord(records, 'uid', position) ?? header.uid),
    gid: idOf(idRecord(records, 'gid', position) ?? header.gid),
    userName: records.get('uname') ?? header.userName,
    groupName: records.get('gname') ?? header.groupName,
    mtimeSeconds: time.seconds,
    mtimeNanoseconds: time.nanoseconds,
    size: type === 'reg' ? size : 0,
    devMajor: remainder(header.devMajor, devMajorRange),
    devMinor: remainder(header.devMinor, devMinorRange),
    xattrs: xattrsOf(records),
  };
  if (isLink && linkTarget === '') throw damaged(position, 'a link has no target');
  if (path.includes('\0') || linkTarget.includes('\0')) throw damaged(position, 'a name holds a NUL');
  const storedBytes = type === 'reg' || header.typeflag === 'D' ? size : 0;
  checkRange(storedBytes, Number.MAX_SAFE_INTEGER - blockBytes, 'size', position);
  return { entry, storedBytes };
}

function idOf(value: number): number {
  const id = remainder(value, idRange);
  return id === idRange - 1 ? 0 : id;
}

/** A number reduced to so many bits. */
function remainder(value: number, range: number): number {
  return ((value % range) + range) % range;
}

/**
 * Only a regular file has a payload: as in Go's archive/tar, with which containerd unpacks, the size of other entries
 * does not count. In the oldest tars, a directory is an entry without a type whose name ends with a slash. A directory
 * of GNU's incremental archives (`D`) has a list of names after it.
 */
function typeOf(typeflag: string, path: ByteString, position: number): EntryType {
  switch (typeflag) {
    case '\0':
      return path.endsWith('/') ? 'dir' : 'reg';
    case '0':
    case '7':
    case 'S':
      return 'reg';
    case '1':
      return 'hardlink';
    case '2':
      return 'symlink';
    case '3':
      return 'char';
    case '4':
      return 'block';
    case '5':
    case 'D':
      return 'dir';
    case '6':
      return 'fifo';
    default:
      throw new LazypullError(
        'InvalidArgument',
        `Cannot read the tar archive at byte ${position}: an entry of type ${JSON.stringify(typeflag)} cannot be in a layer`,
      );
  }
}

function numberOf(records: PaxRecords, key: string, position: number): number | undefined {
  const text = records.get(key);
  if (text === undefined) return undefined;
  const value = decodePaxNumber(text);
  if (value === undefined) throw damaged(position, `the PAX record "${key}" is not a number in range`);
  return value;
}

/** An id of up to 64 bits, of which Linux uses 32. */
function idRecord(records: PaxRecords, key: string, position: number): number | undefined {
  const text = records.get(key);
  if (text === undefined) return undefined;
  const value = decodePaxInt64(text);
  if (value === undefined) throw damaged(position, `the PAX record "${key}" is not a number in range`);
  return Number(BigInt.asUintN(32, value));
}

function timeOf(records: PaxRecords, headerTime: number, position: number): { seconds: number; nanoseconds: number } {
  const text = records.get('mtime');
  if (text === undefined) return { seconds: headerTime, nanoseconds: 0 };
  // A time that no file system can store is 0, as in containerd.
  const isFarAway = decodePaxInt64(text.replace(/\.[0-9]*$/, '')) !== undefined;
  const time = decodePaxTime(text) ?? (isFarAway ? { seconds: 0, nanoseconds: 0 } : undefined);
  if (time === undefined) throw damaged(position, 'the PAX record "mtime" is not a time');
  return time;
}

function xattrsOf(records: PaxRecords): ReadonlyMap<ByteString, Buffer> | undefined {
  const xattrs = new Map<ByteString, Buffer>();
  for (const [key, value] of records) {
    const name = key.startsWith(xattrPrefix) ? key.slice(xattrPrefix.length) : '';
    if (name !== '') xattrs.set(name, Buffer.from(value, 'latin1'));
  }
  return xattrs.size === 0 ? undefined : xattrs;
}

/** @throws DataLoss for a number below 0 or above `max` */
export function checkRange(value: number, max: number, field: string, position: number): void {
  if (value < 0 || value > max) throw damaged(position, `the field "${field}" is out of range: ${value}`);
}
