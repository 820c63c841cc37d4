import { hash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { errnoOf } from '../errors.ts';
import { RangeSet } from './range-set.ts';
import { replaceFile } from '../kernel/replace-file.ts';

/**
 * What is known of a blob of which parts are kept: its size in bytes, once it is known, and which bytes are in its
 * file.
 */
export interface KeptRecord {
  readonly size: number | undefined;
  readonly present: RangeSet;
}

/** A record far longer than any that is written. */
const maxRecordBytes = 8 << 20;

/** In place of a boot, in a record that counts in any: what it speaks of has been synced. */
const synced = 'any';

/**
 * The record in a file. Undefined if there is none that can be believed: it must be whole, and written in this boot or
 * after the bytes that it speaks of had been synced.
 */
export async function readRecord(path: string, boot: string): Promise<KeptRecord | undefined> {
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

/** Replaces the record in a file. With `isSynced`, the bytes that it speaks of have been synced, and it is too. */
export async function writeRecord(path: string, boot: string, record: KeptRecord, isSynced: boolean): Promise<void> {
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
