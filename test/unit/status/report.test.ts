import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nothingFetched } from '../../../src/layers/uses/layer-use.ts';
import type { PrepareOutcome } from '../../../src/snapshots/prepare-history.ts';
import { makeReport, savedBytesOf } from '../../../src/status/report.ts';
import { aUse } from '../../support/layer-use.ts';

const digestOf = (hex: string): string => `sha256:${hex.repeat(32)}`;
const startedMs = 1_700_000_000_000;
const endedMs = startedMs + 60_000;
const app = 'registry.example/app:1';
const refused: PrepareOutcome = {
  reference: app,
  digest: digestOf('b2'),
  atMs: startedMs + 1000,
  reason: 'no_toc',
  message: 'The layer has no index',
};
const make = (uses: ReturnType<typeof aUse>[], outcomes: PrepareOutcome[] = [], last = 10) =>
  makeReport({ sinceMs: startedMs, uses }, outcomes, last);

test('makeReport puts the layers of an image together, and what was left to the client', () => {
  const { images, totals } = make([aUse(), aUse({ digest: digestOf('c3') })], [refused]);
  assert.equal(images.length, 1);
  assert.deepEqual(
    images[0]?.layers.map(({ digest, how, reason }) => [digest.slice(7, 9), how, reason]),
    [
      ['a1', 'toc', undefined],
      ['c3', 'toc', undefined],
      ['b2', undefined, 'no_toc'],
    ],
  );
  assert.match(images[0]?.layers[2]?.advice ?? '', /convert/);
  assert.deepEqual([totals.layers, totals.refused, totals.blobBytes, totals.fetchedBytes], [3, 1, 80_000, 42_000]);
  assert.deepEqual([totals.savedBytes, totals.waits], [38_000, 14]);
});

test('makeReport tells uses of an image apart, the latest first, and shows the last ones', () => {
  const uses = [0, 1, 2].map((i) => aUse({ startedMs: startedMs + i, endedMs }));
  const { images, more } = make(uses, [], 2);
  assert.deepEqual(
    images.map((image) => image.startedMs - startedMs),
    [2, 1],
  );
  assert.equal(more, 1);
  assert.equal(images[0]?.endedMs, endedMs);
});

test('makeReport counts a layer that two images have once in the sum of all', () => {
  const { images, totals } = make([aUse({ references: [app, 'registry.example/other:1'] })]);
  assert.equal(images.length, 2);
  assert.equal(totals.blobBytes, 40_000);
});

test('makeReport shows a layer without the name of an image, and outcomes of lazy layers not at all', () => {
  const { images } = make([aUse({ references: [] })], [{ ...refused, reason: undefined }]);
  assert.deepEqual(
    images.map(({ reference, layers }) => [reference, layers.length]),
    [['', 1]],
  );
});

test('savedBytesOf is not known of a mount that was found, and below 0 if more was fetched than a pull does', () => {
  assert.equal(savedBytesOf(aUse({ isLeft: true })), undefined);
  assert.equal(savedBytesOf(aUse({ fetched: { ...nothingFetched, sweep: 50_000 } })), -10_000);
});
