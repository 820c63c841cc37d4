import type { ByteString, EntryType } from '../formats/layer-index.ts';
import type { TarEntry } from '../formats/tar/entry.ts';

/**
 * One entry of an eStargz TOC with the field names of the JSON. Numbers that are 0 and strings that are '' are not
 * written.
 */
export interface TocEntry {
  name: ByteString;
  type: EntryType | 'chunk';
  size: number;
  modtime: string;
  linkName: ByteString;
  mode: number;
  uid: number;
  gid: number;
  userName: ByteString;
  groupName: ByteString;
  /**
   * The offset of the gzip member that contains the chunk; while the blob is being written, the index of that member.
   */
  offset: number;
  innerOffset: number;
  devMajor: number;
  devMinor: number;
  xattrs: ReadonlyMap<ByteString, Buffer> | undefined;
  /** `sha256:<hex>` of the whole file. */
  digest: string;
  chunkOffset: number;
  /** 0: up to the end of the file. */
  chunkSize: number;
  chunkDigest: string;
}

/**
 * Collects the entries of a TOC in tar order. If a tar has a name twice, the earlier entries are left out: the last one
 * wins, and Go's reader would mix the chunks of both.
 */
export class TocBuilder {
  readonly #files: (readonly TocEntry[] | undefined)[] = [];
  readonly #indexes = new Map<ByteString, number>();
  readonly #userNames = new Map<number, ByteString>();
  readonly #groupNames = new Map<number, ByteString>();

  /** Adds the TOC entries of one tar entry: its own and those of its further chunks. */
  add(rows: readonly TocEntry[]): void {
    const name = cleanName(rows[0]?.name ?? '');
    const earlier = this.#indexes.get(name);
    if (earlier !== undefined) this.#files[earlier] = undefined;
    this.#indexes.set(name, this.#files.length);
    this.#files.push(rows);
  }

  /**
   * The JSON in pieces, indented with tabs as Go writes it. Names that are not UTF-8 are written as their bytes.
   * `offsetOf` returns the offset in the blob of the member with an index.
   */
  *encode(offsetOf: (member: number) => number): Iterable<Buffer> {
    let text = '{\n\t"version": 1,\n\t"entries": [';
    let separator = '\n';
    for (const rows of this.#files) {
      for (const row of rows ?? []) {
        text += separator + this.#encodeRow(row, row.chunkDigest === '' ? 0 : offsetOf(row.offset));
        separator = ',\n';
      }
      if (text.length < pieceBytes) continue;
      yield Buffer.from(text, 'latin1');
      text = '';
    }
    yield Buffer.from(`${text}${separator === '\n' ? '' : '\n\t'}]\n}`, 'latin1');
  }

  #encodeRow(row: TocEntry, offset: number): string {
    const fields: string[] = [];
    const text = (key: string, value: ByteString) => value !== '' && fields.push(`"${key}": ${quote(value)}`);
    const number = (key: string, value: number) => value !== 0 && fields.push(`"${key}": ${value}`);
    fields.push(`"name": ${quote(row.name)}`);
    text('type', row.type);
    number('size', row.size);
    text('modtime', row.modtime);
    text('linkName', row.linkName);
    number('mode', row.mode);
    number('uid', row.uid);
    number('gid', row.gid);
    text('userName', ifChanged(this.#userNames, row.uid, row.userName));
    text('groupName', ifChanged(this.#groupNames, row.gid, row.groupName));
    number('offset', offset);
    number('innerOffset', row.innerOffset);
    number('devMajor', row.devMajor);
    number('devMinor', row.devMinor);
    if (row.xattrs !== undefined) fields.push(`"xattrs": ${encodeXattrs(row.xattrs)}`);
    text('digest', row.digest);
    number('chunkOffset', row.chunkOffset);
    number('chunkSize', row.chunkSize);
    text('chunkDigest', row.chunkDigest);
    return `\t\t{\n\t\t\t${fields.join(',\n\t\t\t')}\n\t\t}`;
  }
}

/** The TOC entry of a tar entry, without chunk and digests. */
export function rowOf(entry: TarEntry): TocEntry {
  return {
    name: entry.path,
    type: entry.type,
    size: entry.size,
    modtime: formatTime(entry.mtimeSeconds, entry.mtimeNanoseconds),
    linkName: entry.linkTarget,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    userName: entry.userName,
    groupName: entry.groupName,
    offset: 0,
    innerOffset: 0,
    devMajor: entry.devMajor,
    devMinor: entry.devMinor,
    xattrs: entry.xattrs,
    digest: '',
    chunkOffset: 0,
    chunkSize: 0,
    chunkDigest: '',
  };
}

/** The TOC entry of a file's second or later chunk: it has only the name and the offset of the chunk. */
export function chunkRowOf(entry: TarEntry): TocEntry {
  return {
    ...rowOf(entry),
    type: 'chunk',
    size: 0,
    modtime: '',
    mode: 0,
    uid: 0,
    gid: 0,
    userName: '',
    groupName: '',
    xattrs: undefined,
  };
}

/**
 * A name as eStargz readers compare it: relative to the root, without `.`, `..`, empty parts and a slash at the end.
 * The root is ''.
 */
export function cleanName(name: ByteString): ByteString {
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

/**
 * Pieces of JSON are joined up to about this many bytes: the length of a string is limited, and a whole TOC may exceed
 * it.
 */
const pieceBytes = 1024 * 1024;

/**
 * The years of RFC 3339, 0001 to 9999. Times outside, which file systems do not keep either, become the nearest one.
 */
const minSeconds = Date.UTC(2001, 0, 1) / 1000 - 2000 * 365.2425 * 86_400;
const maxSeconds = Date.UTC(9999, 11, 31, 23, 59, 59) / 1000;

/**
 * RFC 3339 in UTC. Unlike Go's writer it keeps nanoseconds and writes the time 0, and Go's reader accepts both: to it,
 * an absent time is in the year 1.
 */
function formatTime(seconds: number, nanoseconds: number): string {
  const inRange = Math.min(Math.max(seconds, minSeconds), maxSeconds);
  const date = new Date(inRange * 1000).toISOString().slice(0, 19);
  const fraction = nanoseconds === 0 ? '' : `.${String(nanoseconds).padStart(9, '0').replace(/0+$/, '')}`;
  return `${date}${fraction}Z`;
}

/** The name if it differs from the previous one of that id, else ''. */
function ifChanged(last: Map<number, ByteString>, id: number, name: ByteString): ByteString {
  if (name === '' || last.get(id) === name) return '';
  last.set(id, name);
  return name;
}

function encodeXattrs(xattrs: ReadonlyMap<ByteString, Buffer>): string {
  const keys = [...xattrs.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  const lines = keys.map((key) => `\t\t\t\t${quote(key)}: "${xattrs.get(key)?.toString('base64')}"`);
  return `{\n${lines.join(',\n')}\n\t\t\t}`;
}

/** A JSON string of the bytes; only what JSON must escape is escaped. */
function quote(bytes: ByteString): string {
  // eslint-disable-next-line no-control-regex
  return `"${bytes.replace(/["\\\x00-\x1f]/g, escape)}"`;
}

function escape(char: string): string {
  if (char === '"' || char === '\\') return `\\${char}`;
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
