import { hash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { TocContext } from '../../src/formats/estargz/toc.ts';
import type { ByteString, EntryType } from '../../src/formats/layer-index.ts';

/** A file for a layer that a test makes. What is not given is 0 or empty. */
export interface FileSpec {
  path: ByteString;
  type: EntryType;
  mode?: number;
  uid?: number;
  gid?: number;
  mtimeSeconds?: number;
  mtimeNanoseconds?: number;
  content?: Buffer;
  linkTarget?: ByteString;
  devMajor?: number;
  devMinor?: number;
  xattrs?: Readonly<Record<ByteString, Buffer>>;
}

export interface EstargzBlob {
  bytes: Buffer;
  /** `sha256:<hex>` of the blob. */
  digest: string;
  toc: Buffer;
  context: TocContext;
}

/**
 * An eStargz blob without tar headers, which a lazy reader does not look at.
 *
 * @param chunkBytes where files are cut
 * @param streamBytes how much is put into one gzip member before the next one is begun; 0: each chunk has its own
 */
export function estargzBlob(files: readonly FileSpec[], chunkBytes = 1 << 22, streamBytes = 0): EstargzBlob {
  const members: Buffer[] = [gzipSync('headers')];
  let offset = members[0]!.length;
  let stream: Buffer[] = [];
  let inner = 0;
  const endStream = () => {
    if (stream.length === 0) return;
    const member = gzipSync(Buffer.concat(stream));
    members.push(member);
    offset += member.length;
    stream = [];
    inner = 0;
  };
  const rows: object[] = [];
  for (const file of files) {
    const { content = Buffer.alloc(0) } = file;
    let row: object = rowOf(file);
    if (content.length === 0) rows.push(row);
    for (let at = 0; at < content.length; at += chunkBytes) {
      if (inner >= streamBytes) endStream();
      const chunk = content.subarray(at, at + chunkBytes);
      rows.push({
        ...row,
        offset,
        innerOffset: inner || undefined,
        chunkOffset: at || undefined,
        chunkSize: chunk.length < content.length && at + chunkBytes < content.length ? chunkBytes : undefined,
        chunkDigest: `sha256:${hash('sha256', chunk)}`,
      });
      const padding = Buffer.alloc(-chunk.length & 511);
      stream.push(chunk, padding);
      inner += chunk.length + padding.length;
      row = { name: file.path, type: 'chunk' };
    }
  }
  endStream();
  const { toc, digest: tocDigest } = tocOf(rows);
  const bytes = Buffer.concat([...members, toc, footer(offset)]);
  const context = { tocDigest, blobSize: bytes.length, tocOffset: offset };
  return { bytes, digest: `sha256:${hash('sha256', bytes)}`, toc, context };
}

function rowOf(file: FileSpec) {
  const { content, xattrs, mtimeSeconds = 0, mtimeNanoseconds = 0 } = file;
  const time = new Date(mtimeSeconds * 1000).toISOString().slice(0, 19);
  return {
    name: file.path,
    type: file.type,
    size: content?.length || undefined,
    modtime: `${time}.${String(mtimeNanoseconds).padStart(9, '0')}Z`,
    linkName: file.linkTarget,
    mode: file.mode,
    uid: file.uid,
    gid: file.gid,
    userName: 'somebody',
    devMajor: file.devMajor,
    devMinor: file.devMinor,
    xattrs:
      xattrs && Object.fromEntries(Object.entries(xattrs).map(([name, value]) => [name, value.toString('base64')])),
    digest: content && `sha256:${hash('sha256', content)}`,
  };
}

/** The gzip member of a table of contents with these rows. Strings are bytes: they are not made UTF-8. */
export function tocOf(rows: readonly object[]): { toc: Buffer; digest: string } {
  return tocOfJson(Buffer.from(JSON.stringify({ version: 1, entries: rows }, undefined, '\t'), 'latin1'));
}

/** The gzip member of a table of contents that is `json`, whatever that is. */
export function tocOfJson(json: Uint8Array, level = 6): { toc: Buffer; digest: string } {
  const header = Buffer.alloc(512);
  header.write('stargz.index.json');
  header.write(`${json.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('0', 156);
  const end = Buffer.alloc((-json.length & 511) + 1024);
  return { toc: gzipSync(Buffer.concat([header, json, end]), { level }), digest: `sha256:${hash('sha256', json)}` };
}

/** The 51 bytes at the end of an eStargz blob. */
export function footer(tocOffset: number): Buffer {
  return footerWith('1a0053471600', tocOffset);
}

/** The 47 bytes at the end of a stargz blob from before eStargz. */
export function legacyFooter(tocOffset: number): Buffer {
  return footerWith('1600', tocOffset);
}

function footerWith(extraHex: string, tocOffset: number): Buffer {
  const head = Buffer.from(`1f8b080400000000${'00ff'}${extraHex}`, 'hex');
  const tail = Buffer.from('010000ffff0000000000000000', 'hex');
  return Buffer.concat([head, Buffer.from(`${tocOffset.toString(16).padStart(16, '0')}STARGZ`), tail]);
}
