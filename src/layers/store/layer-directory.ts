import { createHash, hash } from 'node:crypto';
import { open, readdir, readFile, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { type ChunkTable, chunkTable } from '../../chunks/chunk-table.ts';
import type { Digest } from '../../chunks/digest.ts';
import type { LayerId } from '../../chunks/layer-id.ts';
import { errnoOf, LazypullError } from '../../errors.ts';
import { bootId } from '../../kernel/boot.ts';
import { replaceFile, replaceFileNow } from '../../kernel/replace-file.ts';
import { upperBound } from '../../util/search.ts';
import type { Hints } from '../prefetch/layer-hints.ts';
import type { Stacking } from '../plan/stacking.ts';
import { residency } from '../../chunks/residency.ts';
import { makeDirectory } from '../../kernel/make-directory.ts';

/** The sha256 digests, in hex, of the parts of a layer's directory that never change. */
export interface LayerSums {
  /** Digest of the first `metadataBytes` of the disk. */
  readonly metadata: string;
  readonly table: string;
  readonly hints: string;
  readonly stacking: string;
  /** Digest of the codec's data, if it has any. */
  readonly codec?: string;
}

/** The paths of the files that a plan is written to. */
export type LayerPaths = Pick<
  LayerDirectory,
  'diskPath' | 'tablePath' | 'pathsPath' | 'hintsPath' | 'stackingPath' | 'codecPath'
>;

/** The properties of an indexed layer besides its table. Written last: a directory with a record is complete. */
export interface LayerRecord {
  /** Raised when a file of the directory changes its meaning; directories of other versions are thrown away. */
  readonly version: typeof recordVersion;
  readonly digest: Digest;
  /** The digest of the layer's index, and the name of the index's format. */
  readonly indexDigest: Digest;
  readonly format: string;
  /** The name of the front that laid the disk out. */
  readonly front: string;
  /** An image that has the layer. */
  readonly reference: string;
  readonly blobBytes: number;
  readonly diskBytes: number;
  readonly metadataBytes: number;
  /** Where the files' data starts on the disk, if there is a hole before it. */
  readonly dataOffset?: number;
  readonly chunks: number;
  /**
   * Whether the root of the image is the layer's tree, as old versions made it; else the tree is the directory
   * `treeName` in it. `wrapImage` mends that.
   */
  readonly isBare?: true;
  /** What `sums.metadata` was when the data of files was placed, if the metadata has changed since. */
  readonly laidOutAs?: string;
  readonly sums: LayerSums;
}

export const recordVersion = 6;

/** The recorded residency, and whether it was recorded in this boot: then the other files are as they were written. */
export interface WrittenResidency {
  /** The `residency` of each chunk. */
  readonly resident: Uint8Array;
  readonly isOfThisBoot: boolean;
}

/**
 * The files of one layer: `disk` (the image that the kernel mounts, sparse), `table` (the chunk table as it is in
 * memory), `codec` (other data of the format's codec, if any), `paths` (the file that each chunk belongs to, for
 * messages), `hints.json` (what is likely to be read next), `stacking.json` (what matters to layers above and below),
 * `resident` (one byte a chunk, 1 if it has been synced) and `layer.json` (the record). A power cut can damage them, so
 * they are never trusted: a record counts only in the boot in which it was written, until its files have been synced,
 * and every file but the data on the disk has its digest in the record or in itself.
 */
export class LayerDirectory {
  readonly path: string;
  readonly #boot: string;

  /** @param boot the name of the time since the machine was started */
  constructor(path: string, boot = bootId()) {
    this.path = path;
    this.#boot = boot;
  }

  get diskPath(): string {
    return join(this.path, 'disk');
  }

  get tablePath(): string {
    return join(this.path, 'table');
  }

  /** The layer index, if there is one. */
  get indexPath(): string {
    return join(this.path, 'index');
  }

  get pathsPath(): string {
    return join(this.path, 'paths');
  }

  get codecPath(): string {
    return join(this.path, 'codec');
  }

  /** The paths, for another thread. */
  get paths(): LayerPaths {
    const { diskPath, tablePath, pathsPath, hintsPath, stackingPath, codecPath } = this;
    return { diskPath, tablePath, pathsPath, hintsPath, stackingPath, codecPath };
  }

  /** The record. Undefined if the layer was never or not completely indexed, or by a version that kept other files. */
  async record(): Promise<LayerRecord | undefined> {
    try {
      const text = await readFile(this.#recordPath, 'utf8');
      const { boot, sum, record } = JSON.parse(text) as WrittenRecord<AnyRecord>;
      if ((boot !== synced && boot !== this.#boot) || sum !== recordSum(boot, record)) return undefined;
      return currentRecord(record);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError || error instanceof TypeError) return undefined;
      throw error;
    }
  }

  /** Makes the layer count as indexed until the machine stops. The other files must have been written. */
  async writeRecord(record: LayerRecord): Promise<void> {
    replaceFileNow(this.#recordPath, recordText(this.#boot, record));
  }

  /** Syncs the other files and then the record, which makes the layer count as indexed permanently. */
  async syncRecord(record: LayerRecord): Promise<void> {
    const { codec } = record.sums;
    const others = [this.diskPath, this.tablePath, this.hintsPath, this.stackingPath, this.pathsPath];
    for (const path of codec === undefined ? others : [...others, this.codecPath]) {
      const file = await open(path, 'r');
      try {
        await file.datasync();
      } finally {
        await file.close();
      }
    }
    await this.#replace('layer.json', recordText(synced, record));
  }

  /** The chunk table. Throws `DataLoss` if the file does not belong to the record. */
  async table({ chunks, sums }: LayerRecord): Promise<ChunkTable> {
    return chunkTable(shared(await this.#checked(this.tablePath, sums.table)), chunks);
  }

  /** The codec's data besides the table, if any. Throws `DataLoss` if the file does not belong to the record. */
  async codecData({ sums: { codec } }: LayerRecord): Promise<SharedArrayBuffer | undefined> {
    return codec === undefined ? undefined : shared(await this.#checked(this.codecPath, codec));
  }

  /** Throws `DataLoss` unless the disk has the record's length and, if `metadata` is set, its metadata. */
  async checkDisk({ diskBytes, metadataBytes, sums }: LayerRecord, metadata: boolean): Promise<void> {
    await using disk = await open(this.diskPath, 'r');
    const { size } = await disk.stat();
    if (size !== diskBytes) throw new LazypullError('DataLoss', `The disk has ${size} bytes instead of ${diskBytes}`);
    if (!metadata) return;
    const { buffer } = await disk.read(Buffer.alloc(metadataBytes), 0, metadataBytes, 0);
    if (hash('sha256', buffer) !== sums.metadata) throw new LazypullError('DataLoss', 'The metadata is damaged');
  }

  /** The last recorded residency, none of it verified; all absent if there is no reliable one. */
  async resident(record: LayerRecord): Promise<WrittenResidency> {
    const resident = new Uint8Array(new SharedArrayBuffer(record.chunks));
    try {
      const file = await readFile(join(this.path, 'resident'));
      const end = file.indexOf(lineFeed);
      const [boot = '', sum] = file.toString('latin1', 0, Math.max(end, 0)).split(' ');
      const states = file.subarray(end + 1);
      if (states.length === record.chunks && sum === residencySum(boot, record, states)) {
        resident.set(states.map((byte) => (byte === 0 ? residency.absent : residency.unverified)));
        return { resident, isOfThisBoot: boot === this.#boot };
      }
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    return { resident, isOfThisBoot: false };
  }

  /** Records a residency. The bytes of all chunks but the absent ones must have been synced to the disk before. */
  async writeResident(record: LayerRecord, resident: Uint8Array): Promise<void> {
    const states = resident.map((state) => (state === residency.absent ? 0 : 1));
    const head = Buffer.from(`${this.#boot} ${residencySum(this.#boot, record, states)}\n`);
    await this.#replace('resident', Buffer.concat([head, states]));
  }

  /** Syncs the data of a complete layer, and records that: it survives a kill then. */
  async settle(record: LayerRecord): Promise<void> {
    await using disk = await open(this.diskPath, 'r');
    await disk.datasync();
    await this.writeResident(record, new Uint8Array(record.chunks).fill(residency.verified));
  }

  /**
   * The paths in the layer of the files at these disk offsets, '' if one is not known. Reads a file: for messages only.
   */
  async pathsAt(diskOffsets: readonly number[]): Promise<string[]> {
    const starts: number[] = [];
    const paths: string[] = [];
    try {
      for (const line of (await readFile(this.pathsPath, 'latin1')).split('\n')) {
        const tab = line.indexOf('\t');
        if (tab < 0) break;
        starts.push(Number(line.slice(0, tab)));
        paths.push(line.slice(tab + 1));
      }
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    const ascending = Float64Array.from(starts);
    return diskOffsets.map((offset) => {
      const path = paths[upperBound(ascending, offset) - 1] ?? '';
      return Buffer.from(path, 'latin1').toString('utf8');
    });
  }

  get hintsPath(): string {
    return join(this.path, 'hints.json');
  }

  get stackingPath(): string {
    return join(this.path, 'stacking.json');
  }

  /** Throws `DataLoss` if the file does not belong to the record. */
  async stacking({ sums }: LayerRecord): Promise<Stacking> {
    return JSON.parse((await this.#checked(this.stackingPath, sums.stacking)).toString()) as Stacking;
  }

  /**
   * What is likely to be read next. Reads a file: not for every read. Throws `DataLoss` if the file does not belong to
   * the record.
   */
  async hints({ sums }: LayerRecord): Promise<Hints> {
    return JSON.parse((await this.#checked(this.hintsPath, sums.hints)).toString()) as Hints;
  }

  /** Notes that the layer is used now. */
  async touch(): Promise<void> {
    const now = new Date();
    await utimes(this.path, now, now);
  }

  /** Removes all files. The record goes first, so that the rest does not count as a layer if that is interrupted. */
  async remove(): Promise<void> {
    await rm(this.#recordPath, { force: true });
    await rm(this.path, { recursive: true, force: true });
  }

  /** Removes all files, and makes the directory again. */
  async clear(): Promise<void> {
    await this.remove();
    makeDirectory(this.path, 0o700);
  }

  /** Removes the record: the layer does not count as indexed any more. Code that has its files open goes on. */
  async forget(): Promise<void> {
    await rm(this.#recordPath, { force: true });
  }

  get #recordPath(): string {
    return join(this.path, 'layer.json');
  }

  async #checked(path: string, sum: string): Promise<Buffer> {
    const content = await readFile(path);
    if (hash('sha256', content) === sum) return content;
    throw new LazypullError('DataLoss', `The file "${path}" is damaged`);
  }

  #replace(name: string, content: Uint8Array): Promise<void> {
    return replaceFile(join(this.path, name), content, { synced: 'content' });
  }
}

const lineFeed = 0x0a;

/** Replaces the boot in a record that holds in every boot. */
const synced = 'any';

/** The content of `layer.json`. */
interface WrittenRecord<T = LayerRecord> {
  readonly boot: string;
  readonly sum: string;
  readonly record: T;
}

/** The record of old versions that knew only eStargz, of bare images. */
interface Record5 extends Omit<LayerRecord, 'version' | 'indexDigest' | 'format' | 'front' | 'chunks' | 'isBare'> {
  readonly version: 5;
  readonly tocDigest: Digest;
  readonly rows: number;
}

/** What versions wrote that had one front. */
type FrontlessRecord = Omit<LayerRecord, 'front'>;

type AnyRecord = LayerRecord | FrontlessRecord | Record5 | { readonly version: unknown };

/** The front of records that name none. */
const onlyFront = 'erofs';

/** A record in the form of this version; undefined if this version does not know its version. */
function currentRecord(record: AnyRecord): LayerRecord | undefined {
  if (isRecord5(record)) {
    const { version: _, tocDigest, rows, ...same } = record;
    const known = { version: recordVersion, indexDigest: tocDigest, format: 'estargz', front: onlyFront } as const;
    return { ...same, ...known, chunks: rows, isBare: true };
  }
  return record.version === recordVersion ? { front: onlyFront, ...(record as FrontlessRecord) } : undefined;
}

function isRecord5(record: AnyRecord): record is Record5 {
  return record.version === 5;
}

function shared(bytes: Buffer): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(bytes.length);
  new Uint8Array(memory).set(bytes);
  return memory;
}

function recordText(boot: string, record: LayerRecord): Buffer {
  return Buffer.from(JSON.stringify({ boot, sum: recordSum(boot, record), record } satisfies WrittenRecord));
}

function recordSum(boot: string, record: AnyRecord): string {
  return hash('sha256', `${boot}\n${JSON.stringify(record)}`);
}

function residencySum(boot: string, record: LayerRecord, states: Uint8Array): string {
  return createHash('sha256')
    .update(`${boot}\n${layoutOf(record)}\n${record.sums.table}\n`)
    .update(states)
    .digest('hex');
}

/**
 * The record of the layer whose FUSE file has this node id, among the directories of layers below `path`; undefined if
 * there is none.
 */
export async function findRecord(path: string, nodeId: number): Promise<LayerRecord | undefined> {
  for (const digest of await namesIn(path)) {
    for (const index of await namesIn(join(path, digest))) {
      const record = await new LayerDirectory(join(path, digest, index)).record();
      if (record !== undefined && fileOf(record).nodeId === nodeId) return record;
    }
  }
  return undefined;
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/**
 * The name and the node id of a layer's FUSE file. They depend on the layout too: the kernel knows from its metadata
 * where each file of the layer is on the disk, and must never find another layout there.
 */
export function fileOf(record: LayerRecord): { name: string; nodeId: number } {
  const key = hash('sha256', `${record.digest}\n${record.indexDigest}\n${layoutOf(record)}`, 'buffer');
  return { name: key.toString('hex').slice(0, 32), nodeId: key.readUIntBE(0, 6) + 2 };
}

/** Stands for where the data of each file is on the disk. */
function layoutOf({ laidOutAs, sums }: LayerRecord): string {
  return laidOutAs ?? sums.metadata;
}

/** Throws unless a residency or a record belongs to the requested layer. */
export function checkRecord(record: LayerRecord, { digest, index }: LayerId): void {
  if (record.digest === digest && record.indexDigest === index) return;
  throw new LazypullError('DataLoss', `The cached layer is another one: ${record.digest}`);
}
