import assert from 'node:assert/strict';
import { test } from 'node:test';
import { statusText } from '../../../src/cli/status.ts';

const layer = {
  digest: `sha256:${'ab'.repeat(32)}`,
  references: ['localhost:5000/app:1', 'localhost:5000/app:2'],
  mountedMs: 10_000,
  mounts: 1,
  blobBytes: 40_000_000,
  contentBytes: 100_000_000,
  presentBytes: 26_000_000,
  fetchedBytes: 11_000_000,
  bytesPerSecond: 1_250_000,
  waiting: 2,
  errors: 0,
};
const daemon = { version: '1.2.3', startedMs: 0, cache: { bytes: 5_000_000, layers: 1 } };

test('lazypull status shows each layer with what is here of it', () => {
  assert.equal(
    statusText({ ...daemon, layers: [layer] }, 3_700_000),
    [
      'lazypull 1.2.3, up 1h 1m, 1 mounted, 5.0 MB on disk in 1 layer',
      'IMAGE                 LAYER         HERE                                     RATE      WAITING  ERRORS  SINCE',
      'localhost:5000/app:1  abababababab  [#####...............]  26% of 100.0 MB  1.3 MB/s  2        0       1h 1m',
      '',
    ].join('\n'),
  );
});

test('lazypull status is short where nothing is mounted', () => {
  const text = statusText({ ...daemon, cache: { bytes: 0, layers: 0 }, layers: [] }, 6_000);
  assert.equal(text, 'lazypull 1.2.3, up 6s, 0 mounted, 0 B on disk in 0 layers\n');
});

test('lazypull status says that an empty layer is all here', () => {
  assert.match(statusText({ ...daemon, layers: [{ ...layer, contentBytes: 0, presentBytes: 0 }] }, 0), /100% of 0 B/);
});
