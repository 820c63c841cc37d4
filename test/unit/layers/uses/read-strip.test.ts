import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readTimeCode } from '../../../../src/chunks/read-time.ts';
import { cellsOf, contentActivity, joinStrips, stripCells, stripOf } from '../../../../src/layers/uses/read-strip.ts';

const table = (...sizes: number[]) => ({ length: sizes.length, size: Float64Array.from(sizes) });

test('stripOf spreads a chunk over its cells, with the time of the first read', () => {
  const { strip, readBytes } = stripOf(table(4800, 4800), Uint8Array.of(0, 30), Uint8Array.of(1, 1));
  const cells = cellsOf(strip);
  assert.equal(readBytes, 4800);
  assert.deepEqual(
    cells.map(({ read }) => read),
    Array.from({ length: stripCells }, (_, i) => (i < 48 ? 0 : 100)),
  );
  assert.ok(cells.every(({ present }) => present === 100));
  assert.ok(cells.every(({ readMs }, i) => (readMs === undefined) === i < 48));
});

test('stripOf shows a small chunk in a large layer, and the earliest of several reads in a cell', () => {
  const sizes = Array.from({ length: 960 }, () => 1000);
  const read = new Uint8Array(960);
  read[5] = 90;
  read[7] = 40;
  const [first] = cellsOf(stripOf(table(...sizes, 1), Uint8Array.from([...read, 0]), new Uint8Array(961)).strip);
  assert.equal(first?.read, 20);
  assert.equal(readTimeCode(first?.readMs ?? 0), 40);
  const tiny = stripOf(table(1, 10_000_000), Uint8Array.of(9, 0), Uint8Array.of(1, 0)).strip;
  assert.deepEqual([cellsOf(tiny)[0]?.read, cellsOf(tiny)[0]?.present], [1, 1]);
});

test('stripOf takes layers without content, and with empty chunks', () => {
  assert.equal(stripOf(table(), new Uint8Array(), new Uint8Array()).readBytes, 0);
  const { strip } = stripOf(table(0, 10, 0), Uint8Array.of(1, 1, 1), Uint8Array.of(1, 1, 1));
  assert.ok(cellsOf(strip).every(({ read }) => read === 100));
});

test('contentActivity has no strip if nothing was read', () => {
  assert.deepEqual(contentActivity(table(5, 6), Uint8Array.of(0, 0), Uint8Array.of(1, 0)), {
    contentBytes: 11,
    presentBytes: 5,
    readBytes: 0,
    strip: undefined,
  });
});

test('joinStrips keeps the first time, and moves the times of the later one', () => {
  const before = stripOf(table(50, 50), Uint8Array.of(10, 0), Uint8Array.of(1, 0)).strip;
  const after = stripOf(table(50, 50), Uint8Array.of(1, 1), Uint8Array.of(1, 1)).strip;
  const cells = cellsOf(joinStrips(before, after, 60_000));
  assert.ok((cells[0]?.readMs ?? 0) < 100);
  assert.ok(Math.abs((cells.at(-1)?.readMs ?? 0) - 60_000) < 5000);
  assert.deepEqual([cells[0]?.read, cells.at(-1)?.read, cells.at(-1)?.present], [100, 100, 100]);
});
