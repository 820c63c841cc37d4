import { open, readFile, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type ChunkTable, chunkTable } from '../erofs/disk-plan.ts';
import { errnoOf, LazypullError } from '../errors.ts';
import { upperBound } from '../util/search.ts';
import type { Hints } from './hints.ts';
import type { Stacking } from './stacking.ts';
import { residency } from './residency.ts';
import type { RowRange } from './windows.ts';

/** What is known of an indexed layer besides its table. Written last, so that a directory with a record is whole. */
export interface LayerRecord {
  /** Raised when a file of the directory changes its meaning; others are thrown away. */
  readonly version: typeof recordVersion;
  readonly digest: string;
  readonly tocDigest: string;
  readonly blobBytes: number;
  readonly diskBytes: number;
  readonly rows: number;
}

export const recordVersion = 2;

/**
 * The files of one layer: `disk` (the EROFS image, sparse), `table` (the chunk table as it is in memory), `paths` (the file that each
 * row belongs to, for messages), `hints.json` (what is likely to be read next), `stacking.json` (what matters to layers above and below), `resident` (one byte a row, 1 for what has been synced to the disk) and `layer.json` (the record).
 */
export class LayerDirectory {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get diskPath(): string {
    return join(this.path, 'disk');
  }

  get tablePath(): string {
    return join(this.path, 'table');
  }

  get pathsPath(): string {
    return join(this.path, 'paths');
  }

  /** The record, or undefined where the layer was never indexed, or by a version of this program that kept other files, or the disk lost it. */
  async record(): Promise<LayerRecord | undefined> {
    try {
      const record: unknown = JSON.parse(await readFile(join(this.path, 'layer.json'), 'utf8'));
      return isRecord(record) ? record : undefined;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  /** Brings the other files to the disk and then writes the record, which makes the layer count as indexed. */
  async writeRecord(record: LayerRecord): Promise<void> {
    for (const path of [this.diskPath, this.tablePath, this.hintsPath, this.stackingPath, this.pathsPath]) {
      const file = await open(path, 'r');
      try {
        await file.datasync();
      } finally {
        await file.close();
      }
    }
    await this.#replace('layer.json', Buffer.from(JSON.stringify(record)));
  }

  /** The chunk table. Throws `DataLoss` when the file is not one of `rows` rows. */
  async table(rows: number): Promise<ChunkTable> {
    const file = await readFile(this.tablePath);
    const shared = new SharedArrayBuffer(file.length);
    new Uint8Array(shared).set(file);
    return chunkTable(shared, rows);
  }

  /** The residency that was last written, of which nothing is verified; all absent where none, or none that fits, was. */
  async resident(rows: number): Promise<Uint8Array> {
    const resident = new Uint8Array(new SharedArrayBuffer(rows));
    try {
      const file = await readFile(join(this.path, 'resident'));
      if (file.length === rows && file.every((byte) => byte <= 1)) {
        resident.set(file.map((byte) => (byte === 0 ? residency.absent : residency.unverified)));
      }
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    return resident;
  }

  /** Keeps a residency, in which the bytes of all rows but the absent ones have been synced to the disk before. */
  async writeResident(resident: Uint8Array): Promise<void> {
    const written = resident.map((state) => (state === residency.absent ? 0 : 1));
    await this.#replace('resident', written);
  }

  /** The paths in the layer of the files that hold the disk offsets, '' where one is not known. Reads a file: for messages only. */
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

  async stacking(): Promise<Stacking> {
    return JSON.parse(await readFile(this.stackingPath, 'utf8')) as Stacking;
  }

  /** The rows of the shared libraries with these names or paths, of those that are in the layer. Reads a file: not for every read. */
  async rowsOfLibraries(names: readonly string[]): Promise<RowRange[]> {
    const { libraries } = await this.hints();
    return names
      .map((name) => basename(name))
      .flatMap((name) => (Object.hasOwn(libraries, name) ? libraries[name]! : []));
  }

  /** What is likely to be read next. Reads a file: not for every read. */
  async hints(): Promise<Hints> {
    return JSON.parse(await readFile(this.hintsPath, 'utf8')) as Hints;
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }

  async #replace(name: string, content: Uint8Array): Promise<void> {
    const target = join(this.path, name);
    const file = await open(`${target}.new`, 'w', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${target}.new`, target);
  }
}

function isRecord(value: unknown): value is LayerRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { version, digest, tocDigest, blobBytes, diskBytes, rows } = value as Partial<
    Record<keyof LayerRecord, unknown>
  >;
  return (
    version === recordVersion &&
    [digest, tocDigest].every((each) => typeof each === 'string' && digestPattern.test(each)) &&
    [blobBytes, diskBytes, rows].every((each) => Number.isSafeInteger(each) && (each as number) >= 0)
  );
}

const digestPattern = /^sha256:[0-9a-f]{64}$/;

/** Throws unless a residency or a record is of the layer that is asked for. */
export function checkRecord(record: LayerRecord, digest: string, tocDigest: string): void {
  if (record.digest === digest && record.tocDigest === tocDigest) return;
  throw new LazypullError('DataLoss', `The cached layer is another one: ${record.digest}`);
}
