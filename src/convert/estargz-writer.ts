import { createHash } from 'node:crypto';
import { sha256 } from '../chunks/digest.ts';
import { LazypullError } from '../errors.ts';
import { encodeFooter } from '../formats/estargz/footer.ts';
import { tocName, tocTar } from '../formats/estargz/toc-tar.ts';
import { blockBytes } from '../formats/tar/header.ts';
import type { GzipPool, MemberBatch } from './gzip-pool.ts';
import type { TarEntry } from '../formats/tar/entry.ts';
import { TarReader } from '../formats/tar/reader.ts';
import { chunkRowOf, cleanName, rowOf, TocBuilder, type TocEntry } from './toc-entry.ts';

/**
 * A quarter of the chunk size of Go's writer. A reader waits for a whole chunk and fetches no less. So smaller chunks
 * make the first read of a program faster; the layer grows by a few thousandths.
 */
export const defaultChunkBytes = 1 << 20;
/** Writers and readers hold a chunk in memory. */
export const maxChunkBytes = 64 * 1024 * 1024;

/** The properties of a written eStargz blob. */
export interface EstargzResult {
  /** `sha256:<hex>` of the blob. */
  digest: string;
  /** Bytes of the blob. */
  size: number;
  /** `sha256:<hex>` of the inflated blob: the tar, then the TOC's tar entry. */
  diffId: string;
  /** `sha256:<hex>` of the TOC's JSON. */
  tocDigest: string;
  /** Size of the inflated blob, in bytes. */
  uncompressedSize: number;
}

export interface EstargzOptions {
  pool: GzipPool;
  /** Chunk size of files, in bytes: 1 to `maxChunkBytes`. */
  chunkBytes: number;
  signal?: AbortSignal | undefined;
}

/**
 * Writes a tar archive as an eStargz blob. Each piece goes to `sink` as soon as it and those before are ready. The
 * bytes of the tar are kept up to its end-of-archive mark. The TOC's entry comes after that mark, so that a program
 * that unpacks the layer as a plain tar.gz does not see it (BuildKit writes it so too). A TOC and landmarks in the
 * source are left out. The source is read to its end. Format: containerd/stargz-snapshotter docs/estargz.md.
 *
 * @throws what `tar-reader.ts`, `tar` and `sink` throw, and InvalidArgument for a chunk size out of range
 */
export async function writeEstargz(
  tar: AsyncIterable<Buffer>,
  sink: (data: Uint8Array) => Promise<void>,
  options: EstargzOptions,
): Promise<EstargzResult> {
  const { chunkBytes, pool, signal } = options;
  if (!Number.isInteger(chunkBytes) || chunkBytes < 1 || chunkBytes > maxChunkBytes) {
    throw new LazypullError(
      'InvalidArgument',
      `Cannot cut files at ${chunkBytes} bytes: it must be 1 to ${maxChunkBytes}`,
    );
  }
  const reader = new TarReader(tar);
  const toc = new TocBuilder();
  const members = new MemberWriter(pool, sink);
  try {
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      signal?.throwIfAborted();
      await members.appendHeaders(entry.globalHeaders);
      if (isLeftOut(entry)) continue;
      await members.appendHeaders(entry.headers);
      toc.add(entry.size === 0 ? [emptyRow(entry)] : await writeFile(entry, reader, members, chunkBytes));
    }
    await reader.drain();
  } finally {
    await reader.close();
  }
  members.append(Buffer.alloc(2 * blockBytes));
  return finish(toc, members);
}

/**
 * Whether an entry comes from an earlier eStargz writer, or describes the root as something that is not a directory,
 * which containerd ignores.
 */
function isLeftOut({ path, type }: TarEntry): boolean {
  const name = cleanName(path);
  return formatNames.has(name) || (name === '' && type !== 'dir');
}

const formatNames = new Set([tocName, '.prefetch.landmark', '.no.prefetch.landmark']);

function emptyRow(entry: TarEntry): TocEntry {
  const row = rowOf(entry);
  if (entry.type === 'reg') row.digest = sha256('');
  return row;
}

/** Writes a file's payload, each chunk at the start of a member, and returns its TOC entries. */
async function writeFile(
  entry: TarEntry,
  reader: TarReader,
  members: MemberWriter,
  chunkBytes: number,
): Promise<TocEntry[]> {
  const rows: TocEntry[] = [];
  const fileHash = createHash('sha256');
  for (let written = 0; written < entry.size; ) {
    const row = written === 0 ? rowOf(entry) : chunkRowOf(entry);
    const size = Math.min(chunkBytes, entry.size - written);
    const chunkHash = createHash('sha256');
    row.offset = await members.cut();
    row.chunkOffset = written;
    row.chunkSize = size === chunkBytes ? size : 0;
    for (let left = size; left > 0; ) {
      const data = await reader.readPayload(left);
      chunkHash.update(data);
      if (size < entry.size) fileHash.update(data);
      members.append(data);
      left -= data.length;
    }
    row.chunkDigest = `sha256:${chunkHash.digest('hex')}`;
    rows.push(row);
    written += size;
  }
  members.append(await reader.readPadding());
  const [first] = rows;
  if (first !== undefined) first.digest = rows.length === 1 ? first.chunkDigest : `sha256:${fileHash.digest('hex')}`;
  return rows;
}

/** Writes the TOC, which is a tar entry in a member of its own and the end of the archive, and the footer. */
async function finish(toc: TocBuilder, members: MemberWriter): Promise<EstargzResult> {
  await members.flush();
  const tocHash = createHash('sha256');
  const json: Buffer[] = [];
  for (const piece of toc.encode((member) => members.offsetOf(member))) {
    tocHash.update(piece);
    json.push(piece);
  }
  const tocMember = await members.cut();
  members.append(tocTar(json));
  await members.flush();
  await members.writeRaw(encodeFooter(members.offsetOf(tocMember)));
  return { ...members.result(), tocDigest: `sha256:${tocHash.digest('hex')}` };
}

/**
 * A batch of this size is sent to a thread: large enough that sending costs little, small enough that memory stays
 * bounded.
 */
const batchBytes = 1024 * 1024;
/** A run of headers without payload is cut after this many bytes, so that it need not be held in memory. */
const maxMemberBytes = 8 * 1024 * 1024;

/**
 * Takes the uncompressed stream, cut into members, compresses them in parallel and gives them to the sink in order. A
 * member is named by its index until its offset is known.
 */
class MemberWriter {
  readonly #pool: GzipPool;
  readonly #sink: (data: Uint8Array) => Promise<void>;
  readonly #blobHash = createHash('sha256');
  readonly #diffHash = createHash('sha256');
  readonly #inFlight: Promise<MemberBatch>[] = [];
  readonly #offsets: number[] = [];
  #size = 0;
  #uncompressedSize = 0;
  #pieces: Uint8Array[] = [];
  #pieceBytes = 0;
  #ends: number[] = [];
  #members = 0;

  constructor(pool: GzipPool, sink: (data: Uint8Array) => Promise<void>) {
    this.#pool = pool;
    this.#sink = sink;
  }

  /** Adds bytes to the member. They are kept until compressed: the caller must not change them. */
  append(data: Uint8Array): void {
    if (data.length === 0) return;
    this.#diffHash.update(data);
    this.#uncompressedSize += data.length;
    this.#pieces.push(data);
    this.#pieceBytes += data.length;
  }

  /** Adds bytes that no TOC entry points at. If the member is long, they start a new one. */
  async appendHeaders(data: Uint8Array): Promise<void> {
    if (this.#memberBytes >= maxMemberBytes) await this.cut();
    this.append(data);
  }

  /** Ends the member and starts the next one. Resolves to the index of the next one. */
  async cut(): Promise<number> {
    if (this.#memberBytes > 0) {
      this.#ends.push(this.#pieceBytes);
      this.#members++;
    }
    if (this.#pieceBytes >= batchBytes) await this.#send();
    return this.#members;
  }

  /** Ends the member and waits until everything is in the sink. */
  async flush(): Promise<void> {
    await this.cut();
    if (this.#pieceBytes > 0) await this.#send();
    while (this.#inFlight.length > 0) await this.#receive();
  }

  /** The offset of a flushed member in the blob, in bytes. */
  offsetOf(member: number): number {
    const offset = this.#offsets[member];
    if (offset === undefined) throw new LazypullError('Unknown', `Member ${member} of the blob was not written`);
    return offset;
  }

  /** Writes bytes to the blob as they are; they must not inflate to anything. */
  async writeRaw(data: Uint8Array): Promise<void> {
    this.#blobHash.update(data);
    this.#size += data.length;
    await this.#sink(data);
  }

  result(): Omit<EstargzResult, 'tocDigest'> {
    return {
      digest: `sha256:${this.#blobHash.digest('hex')}`,
      size: this.#size,
      diffId: `sha256:${this.#diffHash.digest('hex')}`,
      uncompressedSize: this.#uncompressedSize,
    };
  }

  get #memberBytes(): number {
    return this.#pieceBytes - (this.#ends.at(-1) ?? 0);
  }

  async #send(): Promise<void> {
    const data = new Uint8Array(this.#pieceBytes);
    let position = 0;
    for (const piece of this.#pieces) {
      data.set(piece, position);
      position += piece.length;
    }
    const batch = this.#pool.compress({ data, ends: this.#ends });
    batch.catch(() => {}); // its receiver sees the error; if the writer has failed before, there is none
    this.#inFlight.push(batch);
    this.#pieces = [];
    this.#pieceBytes = 0;
    this.#ends = [];
    while (this.#inFlight.length >= this.#pool.depth) await this.#receive();
  }

  async #receive(): Promise<void> {
    const batch = await this.#inFlight.shift();
    if (batch === undefined) return;
    let start = 0;
    for (const end of batch.ends) {
      this.#offsets.push(this.#size + start);
      start = end;
    }
    await this.writeRaw(batch.data);
  }
}
