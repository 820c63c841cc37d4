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
  clients: ['default'],
};
const one = {
  name: 'default',
  address: '/run/lp.sock',
  process: { pid: 12, command: 'containerd' },
  refused: undefined,
};
const daemon = {
  version: '1.2.3',
  startedMs: 0,
  clients: [one],
  cache: { bytes: 5_000_000, layers: 1 },
  mirror: undefined,
};

test('lazypull status shows each layer with what is here of it', () => {
  assert.equal(
    statusText({ ...daemon, layers: [layer] }, '/run/lp.sock', 3_700_000),
    [
      'lazypull 1.2.3 at /run/lp.sock, up 1h 1m, 1 mounted, 5.0 MB on disk in 1 layer',
      'IMAGE                 LAYER         HERE                                     RATE      WAITING  ERRORS  SINCE',
      'localhost:5000/app:1  abababababab  [#####...............]  26% of 100.0 MB  1.3 MB/s  2        0       1h 1m',
      '',
    ].join('\n'),
  );
});

test('lazypull status tells clients apart where there are several, and which one has no socket of its own', () => {
  const two = { ...one, name: 'bk', address: '/run/bk.sock', process: undefined };
  const refused = { pid: 13, command: 'build\x1bkitd' };
  const layers = [{ ...layer, clients: ['bk', 'default'] }];
  const text = statusText({ ...daemon, clients: [{ ...one, refused }, two], layers }, '/run/lp.sock', 3_700_000);
  const lines = text.split('\n').map((line) => line.trimEnd());
  assert.equal(lines[1], 'client default at /run/lp.sock: containerd, process 12');
  assert.match(
    lines[2]!,
    /^REFUSED at \/run\/lp\.sock: build.*kitd, process 13, because it is the socket of containerd, process 12;/,
  );
  assert.equal(lines[3], 'client bk at /run/bk.sock: nobody yet');
  assert.match(lines[4]!, /SINCE +CLIENTS$/);
  assert.match(lines[5]!, /1h 1m +bk, default$/);
  assert.match(
    statusText({ ...daemon, clients: [{ ...one, refused }], layers: [] }, '/run/lp.sock', 0),
    /\nREFUSED at/,
  );
});

test('lazypull status says where the mirror is, and what is kept for it', () => {
  const mirror = { address: '127.0.0.1:8235', blobs: 2, bytes: 3_000_000 };
  assert.match(
    statusText({ ...daemon, mirror, layers: [] }, '/run/lp.sock', 0),
    /\nmirror at 127\.0\.0\.1:8235: 3\.0 MB on disk in 2 blobs\n$/,
  );
});

test('lazypull status is short where nothing is mounted', () => {
  const text = statusText({ ...daemon, cache: { bytes: 0, layers: 0 }, layers: [] }, '/run/lp.sock', 6_000);
  assert.equal(text, 'lazypull 1.2.3 at /run/lp.sock, up 6s, 0 mounted, 0 B on disk in 0 layers\n');
});

test('lazypull status says that an empty layer is all here', () => {
  assert.match(
    statusText({ ...daemon, layers: [{ ...layer, contentBytes: 0, presentBytes: 0 }] }, '/run/lp.sock', 0),
    /100% of 0 B/,
  );
});
