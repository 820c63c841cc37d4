import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ChunkTable, chunkTable } from '../../../../src/chunks/chunk-table.ts';
import { Link } from '../../../../src/layers/fetch/link.ts';
import { membersCodec } from '../../../../src/formats/gzip/members-codec.ts';
import { Windows } from '../../../../src/layers/fetch/windows.ts';
import type { ChunkRange } from '../../../../src/chunks/chunk-range.ts';
import fc from '../../../support/properties.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

/** A table of files of so many blob bytes each, one row a file unless it is longer than 4 MiB. */
function tableOf(files: number[]): ChunkTable {
  const sizes = files.flatMap((bytes) => {
    const parts = Array.from({ length: Math.ceil(bytes / (4 * MiB)) }, () => 4 * MiB);
    parts[parts.length - 1] = bytes - (parts.length - 1) * 4 * MiB;
    return parts.map((size, i) => ({ size, first: i === 0 }));
  });
  const table = chunkTable(undefined, sizes.length);
  let blob = 0;
  let disk = 4096;
  for (const [row, { size, first }] of sizes.entries()) {
    if (first) disk = (Math.floor(disk / 4096) + 1) * 4096 + 4096;
    table.diskOffset[row] = disk;
    table.size[row] = size;
    table.streamOffset[row] = blob;
    blob += size;
    table.streamEnd[row] = blob;
    disk += size;
  }
  return table;
}

/** Takes windows as a fetcher does, and keeps what was taken. */
class Reader {
  readonly taken: Uint8Array;
  readonly read: Uint8Array;
  readonly windows: Windows;
  readonly table: ChunkTable;

  constructor(table: ChunkTable, link = new Link()) {
    this.table = table;
    this.taken = new Uint8Array(table.length);
    this.read = new Uint8Array(table.length);
    this.windows = new Windows(table, membersCodec.bytesNeeded, link, this.read);
  }

  /** @returns the blob bytes of the window, 0 if the row is there already */
  miss(row: number): number {
    this.read[row] = 1;
    if (this.taken[row] === 1) return 0;
    const { runs } = this.windows.around(row, (other) => this.taken[other] === 0);
    assert.ok(
      runs.some(({ first, last }) => row >= first && row < last),
      'the missing row is in the window',
    );
    return this.#take(runs);
  }

  onwards(row: number): number {
    return this.#take(this.windows.onwards(row, this.table.length, (other) => this.taken[other] === 0));
  }

  #take(runs: ChunkRange[]): number {
    let bytes = 0;
    let before = -1;
    for (const { first, last } of runs) {
      const start = membersCodec.bytesNeeded(this.table, first).start;
      assert.ok(start > before, 'runs ascend and do not overlap');
      for (let row = first; row < last; row++) {
        assert.equal(this.taken[row], 0, 'nothing is taken twice');
        this.taken[row] = 1;
      }
      before = membersCodec.bytesNeeded(this.table, last - 1).end - 1;
      bytes += before + 1 - start;
    }
    return bytes;
  }
}

const smallFiles = (count: number) => tableOf(Array.from({ length: count }, () => 16 * KiB));

test('Windows takes the neighbours of a small file, on both sides', () => {
  const reader = new Reader(smallFiles(4096));
  const bytes = reader.miss(2004);
  assert.ok(bytes >= 128 * KiB && bytes <= MiB, `${bytes} bytes`);
  assert.equal(reader.taken[2003], 1);
  assert.equal(reader.taken[2005], 1);
});

test('Windows stays small for scattered reads', () => {
  const reader = new Reader(smallFiles(8192));
  for (let row = 0; row < 8192; row += 1024) assert.ok(reader.miss(row) <= MiB);
});

test('Windows doubles for reads in order', () => {
  const reader = new Reader(smallFiles(8192));
  let misses = 0;
  let longest = 0;
  for (let row = 0; row < 8192; row++) {
    const bytes = reader.miss(row);
    if (bytes > 0) misses++;
    longest = Math.max(longest, bytes);
  }
  assert.ok(misses <= 16, `${misses} misses for 128 MiB`);
  assert.equal(longest, 16 * MiB);
});

test('Windows stays small for a reader of one file in eleven in the order of the blob', () => {
  const reader = new Reader(tableOf([MiB, ...Array.from({ length: 200 }, () => 100 * KiB)]));
  reader.miss(0);
  let bytes = 0;
  for (let row = 3; row < 113; row += 11) bytes += reader.miss(row);
  assert.ok(bytes <= 10 * MiB, `${bytes} bytes for 1 MB`);
});

test('Windows grows for the same reader if all of it comes in a round trip', () => {
  const link = new Link();
  for (let i = 0; i < 20; i++) link.measured(80, 10 << 20, 84);
  const reader = new Reader(tableOf(Array.from({ length: 200 }, () => 100 * KiB)), link);
  let misses = 0;
  for (let row = 2; row < 112; row += 11) if (reader.miss(row) > 0) misses++;
  assert.ok(misses <= 7, `${misses} misses`);
});

test('Windows grows for a reader of a third of neighbouring files', () => {
  const reader = new Reader(smallFiles(4096));
  let misses = 0;
  for (let row = 0; row < 2048; row += 3) if (reader.miss(row) > 0) misses++;
  assert.ok(misses <= 10, `${misses} misses for 32 MiB`);
});

test('Windows takes a large file alone, a few MiB of it, and more of it when it is read in order', () => {
  const reader = new Reader(tableOf([16 * KiB, 64 * MiB, 16 * KiB]));
  const first = reader.miss(1);
  assert.ok(first >= 4 * MiB && first <= 8 * MiB, `${first} bytes`);
  assert.equal(reader.taken[0], 0);
  const next = reader.taken.indexOf(0, 1);
  assert.ok(reader.miss(next) > first);
});

test('Windows does not take a region for dense because a large file in it was read', () => {
  const reader = new Reader(
    tableOf([...Array.from({ length: 64 }, () => 16 * KiB), 12 * MiB, ...Array.from({ length: 64 }, () => 16 * KiB)]),
  );
  for (let row = 64; row < 67; row++) reader.miss(row);
  assert.ok(reader.miss(100) <= 2 * MiB);
});

test('Windows.onwards() goes over what is there in one request', () => {
  const reader = new Reader(smallFiles(64));
  reader.taken.fill(1, 10, 20);
  assert.equal(reader.onwards(0), 54 * 16 * KiB);
  assert.equal(reader.onwards(0), 0);
});

test('Windows gives every reader all that it asks for, whatever the order and the sizes', () => {
  const bytes = fc.oneof(fc.integer({ min: 1, max: 64 * KiB }), fc.integer({ min: 1, max: 9 * MiB }));
  fc.assert(
    fc.property(
      fc.array(bytes, { minLength: 1, maxLength: 60 }),
      fc.array(fc.nat(), { maxLength: 60 }),
      (files, order) => {
        const reader = new Reader(tableOf(files));
        for (const at of order) reader.miss(at % reader.table.length);
        let row = 0;
        while ((row = reader.taken.indexOf(0)) >= 0) assert.ok(reader.onwards(row) > 0);
      },
    ),
  );
});
