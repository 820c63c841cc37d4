import { hash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { errnoOf } from '../errors.ts';
import { RangeSet } from './range-set.ts';
import { replaceFile } from '../kernel/replace-file.ts';

/** The record of a partly kept blob: its size in bytes, once it is known, and which bytes are in its file. */
export interface BlobRecord {
  readonly size: number | undefined;
  readonly present: RangeSet;
}

/** Far longer than any record that is written. */
const maxRecordBytes = 8 << 20;

/** Replaces the boot in a record that holds in every boot: its bytes have been synced. */
const synced = 'any';

/**
 * The record in a file. Undefined if it is not reliable: it must be complete, and written in this boot or after its
 * bytes had been synced.
 */
export async function readRecord(path: string, boot: string): Promise<BlobRecord | undefined> {
  try {
    if ((await stat(path)).size > maxRecordBytes) return undefined;
    const { sum, body } = JSON.parse(await readFile(path, 'utf8')) as { sum: string; body: string };
    if (hash('sha256', body) !== sum) return undefined;
    const { boot: written, size, ranges } = JSON.parse(body) as Body;
    const present = RangeSet.of(ranges);
    if (present === undefined || (written !== synced && written !== boot)) return undefined;
    return { size: size ?? undefined, present };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
}

/** Replaces the record in a file. With `isSynced`, its bytes have been synced, and the record is synced too. */
export async function writeRecord(path: string, boot: string, record: BlobRecord, isSynced: boolean): Promise<void> {
  const { size = null, present } = record;
  const body = JSON.stringify({ boot: isSynced ? synced : boot, size, ranges: present.ranges } satisfies Body);
  const text = JSON.stringify({ sum: hash('sha256', body), body });
  await replaceFile(path, text, { synced: isSynced ? 'content' : 'nothing' });
}

interface Body {
  readonly boot: string;
  readonly size: number | null;
  readonly ranges: readonly (readonly [number, number])[];
}
