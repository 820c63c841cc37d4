/** One entry of a tar to be made. Strings are bytes (latin1). What does not fit a ustar header goes to a PAX header. */
export interface TarSpec {
  readonly name: string;
  readonly typeflag?: string;
  readonly data?: Buffer;
  readonly linkName?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly userName?: string;
  readonly groupName?: string;
  readonly devMajor?: number;
  readonly devMinor?: number;
  /** Further PAX records. */
  readonly pax?: Readonly<Record<string, string>>;
  /** Size to write in the header if it is not that of `data`. */
  readonly size?: number;
}

/** A tar archive of the entries, with its end mark. */
export function buildTar(entries: readonly TarSpec[]): Buffer {
  return Buffer.concat([...entries.map(buildEntry), Buffer.alloc(1024)]);
}

/** The blocks of one entry: PAX header, header, data. */
export function buildEntry(spec: TarSpec): Buffer {
  const data = spec.data ?? Buffer.alloc(0);
  const pax: Record<string, string> = { ...spec.pax };
  if (spec.name.length > 100) pax['path'] = spec.name;
  if ((spec.linkName ?? '').length > 100) pax['linkpath'] = spec.linkName ?? '';
  for (const key of ['uid', 'gid'] as const) if ((spec[key] ?? 0) > 0o7777777) pax[key] = String(spec[key]);
  const mtime = spec.mtime ?? 0;
  if (mtime < 0 || mtime >= 8 ** 11 || !Number.isInteger(mtime)) pax['mtime'] = String(mtime);
  const records = Object.entries(pax).map(([key, value]) => paxRecord(key, value));
  const extended = records.length === 0 ? [] : [metadataEntry('x', Buffer.concat(records))];
  return Buffer.concat([...extended, header(spec, spec.size ?? data.length), padded(data)]);
}

/** A PAX ('x', 'g') or GNU ('L', 'K') header with its data. */
export function metadataEntry(typeflag: string, data: Buffer): Buffer {
  return Buffer.concat([header({ name: 'metadata', typeflag }, data.length), padded(data)]);
}

export function paxRecord(key: string, value: string): Buffer {
  const tail = ` ${key}=${value}\n`;
  let length = tail.length;
  while (String(length).length + tail.length !== length) length = String(length).length + tail.length;
  return Buffer.from(`${length}${tail}`, 'latin1');
}

/** Writes the checksum of a header block that has been changed. */
export function withChecksum(block: Buffer): Buffer {
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0`, 148, 'latin1');
  return block;
}

/** A ustar header block. Values that do not fit are cut or left out: a PAX header has them. */
export function header(spec: TarSpec, size: number): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, start: number, digits: number) => {
    const text = value >= 0 && value < 8 ** digits ? Math.floor(value).toString(8) : '0';
    block.write(text.padStart(digits, '0'), start, 'latin1');
  };
  block.write(spec.name.slice(0, 100), 0, 'latin1');
  octal(spec.mode ?? 0o644, 100, 7);
  octal(spec.uid ?? 0, 108, 7);
  octal(spec.gid ?? 0, 116, 7);
  octal(size, 124, 11);
  octal(spec.mtime ?? 0, 136, 11);
  block.write(spec.typeflag ?? '0', 156, 'latin1');
  block.write((spec.linkName ?? '').slice(0, 100), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  block.write(spec.userName ?? '', 265, 'latin1');
  block.write(spec.groupName ?? '', 297, 'latin1');
  octal(spec.devMajor ?? 0, 329, 7);
  octal(spec.devMinor ?? 0, 337, 7);
  return withChecksum(block);
}

/** The bytes in pieces of `size`, as a stream gives them. */
export async function* inPieces(data: Buffer, size = 1000): AsyncGenerator<Buffer> {
  for (let start = 0; start < data.length; start += size) yield data.subarray(start, start + size);
}

function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}
