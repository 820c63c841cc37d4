import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { painter } from '../../../src/util/colour.ts';
import { displayWidth } from '../../../src/cli/screen.ts';
import { statusText } from '../../../src/cli/status-text.ts';
import { type FullStatus, withOutcomes } from '../../../src/status/outcomes.ts';

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
  problems: [],
  left: [],
};

test('lazypull status shows each layer with what is here of it', () => {
  assert.equal(
    statusText({ ...daemon, layers: [layer] }, '/run/lp.sock', { nowMs: 3_700_000 }),
    [
      'lazypull 1.2.3 at /run/lp.sock',
      'up 1h 1m, 1 layer mounted, 5.0 MB on disk in 1 layer',
      'LAYER         HERE                         RATE        WAITING  SIZE      SINCE  ERRORS  IMAGE',
      'abababababab  [#####...............]  26%  1.3 MB/s    2        100.0 MB  1h 1m  0       localhost:5000/app:1',
      '',
    ].join('\n'),
  );
});

test('lazypull status tells clients apart if there are several, and which one has no socket of its own', () => {
  const two = { ...one, name: 'bk', address: '/run/bk.sock', process: undefined };
  const refused = { pid: 13, command: 'build\x1bkitd' };
  const layers = [{ ...layer, clients: ['bk', 'default'] }];
  const text = statusText({ ...daemon, clients: [{ ...one, refused }, two], layers }, '/run/lp.sock', {
    nowMs: 3_700_000,
  });
  const lines = text.split('\n').map((line) => line.trimEnd());
  assert.equal(lines[2], 'client default at /run/lp.sock: containerd, process 12');
  assert.match(
    lines[3]!,
    /^REFUSED at \/run\/lp\.sock: build.*kitd, process 13, because it is the socket of containerd, process 12;/,
  );
  assert.equal(lines[4], 'client bk at /run/bk.sock: nobody yet');
  assert.match(lines[5]!, /SINCE +CLIENTS +ERRORS +IMAGE$/);
  assert.match(lines[6]!, /1h 1m +bk,default +0 +localhost:5000\/app:1$/);
  assert.match(
    statusText({ ...daemon, clients: [{ ...one, refused }], layers: [] }, '/run/lp.sock', { nowMs: 0 }),
    /\nREFUSED at/,
  );
});

test('lazypull status says where the mirror is, and what is kept for it', () => {
  const mirror = { address: '127.0.0.1:8235', blobs: 2, bytes: 3_000_000 };
  assert.match(
    statusText({ ...daemon, mirror, layers: [] }, '/run/lp.sock', { nowMs: 0 }),
    /\nmirror at 127\.0\.0\.1:8235: 3\.0 MB on disk in 2 blobs\n$/,
  );
});

test('lazypull status is short if nothing is mounted', () => {
  const text = statusText({ ...daemon, cache: { bytes: 0, layers: 0 }, layers: [] }, '/run/lp.sock', { nowMs: 6_000 });
  assert.equal(text, 'lazypull 1.2.3 at /run/lp.sock\nup 6s, 0 layers mounted, 0 B on disk in 0 layers\n');
});

test('lazypull status says that an empty layer is all here', () => {
  assert.match(
    statusText({ ...daemon, layers: [{ ...layer, contentBytes: 0, presentBytes: 0 }] }, '/run/lp.sock', { nowMs: 0 }),
    /\[#{20}\] 100%  .* 0 B /,
  );
});

const long = 'registry.example.com:5000/a-team/with/a-long/path/to-the-application:2026.11.30-release-candidate';
const many: FullStatus = {
  ...daemon,
  clients: [one, { ...one, name: 'a-buildkit', address: `/run/${'x'.repeat(80)}.sock` }],
  layers: [
    { ...layer, references: [`${long}@sha256:${'0'.repeat(64)}`] },
    { ...layer, references: ['映像/アプリ:一二三四五六七八九十'], waiting: 12, bytesPerSecond: 999_900_000 },
    { ...layer, references: [`x/y@sha512:${'0'.repeat(128)}`], presentBytes: 100_000_000, waiting: 0 },
    { ...layer, references: ['evil\x1b[2J\u202e:1'], clients: ['a-buildkit', 'default'] },
  ],
};

test('lazypull status fits any terminal: layer, bar, rate and who waits first, the image last and without its digest', () => {
  for (const errors of [0, 34]) {
    const status = { ...many, layers: many.layers.map((each) => ({ ...each, errors })) };
    for (const columns of [60, 80, 200]) {
      const text = statusText(status, `/run/${'y'.repeat(90)}/lp.sock`, { nowMs: 400_000_000, columns });
      const lines = text.trimEnd().split('\n');
      for (const line of lines) assert.ok(displayWidth(line) <= columns, `${columns}: ${line}`);
      const rows = lines.slice(lines.findIndex((line) => line.startsWith('LAYER')));
      assert.match(rows[0]!, /^LAYER +HERE +RATE +WAIT(ING)? .*IMAGE$/);
      for (const row of rows.slice(1)) {
        assert.match(row, /^abababababab {2}\[[#.]+\] +(26|100)% {2}(1\.3|999\.9) MB\/s +\d+ .*\S$/);
        if (errors > 0) assert.match(row, / 34 /);
      }
      assert.match(rows[1]!, columns < 80 ? /…[-\w.]*didate$/ : /[.\d]*-release-candidate$/);
      assert.match(rows[2]!, /九十$/);
      assert.match(rows[3]!, / x\/y$/);
      assert.match(rows[4]!, columns < 80 ? /\?:1$/ : / evil\?\[2J\?:1$/);
      assert.ok(!text.includes('@'), text);
      if (columns === 200)
        assert.ok(rows[0]!.includes('SIZE') && rows[0]!.includes('CLIENTS') && rows[1]!.endsWith(long));
    }
  }
});

test('lazypull status shortens no name in a pipe, and on a terminal keeps to its lines, the layers with most to do first', () => {
  const socket = `/run/${'z'.repeat(90)}.sock`;
  const piped = statusText(many, socket, { nowMs: 0 });
  assert.ok(piped.includes(` ${long}\n`) && piped.startsWith(`lazypull 1.2.3 at ${socket}\nup `), piped);
  const lines = statusText({ ...many, clients: [one] }, '/run/lp.sock', { nowMs: 0, columns: 80, lines: 6 }).split(
    '\n',
  );
  assert.equal(lines.length - 1, 6);
  assert.match(lines[3]!, / 999\.9 MB\/s {2}12 /);
  assert.equal(lines[5], 'and 2 layers more');
});

test('lazypull status has colours if they are wanted, and is set the same', () => {
  const strip = (text: string) => stripVTControlCharacters(text);
  const view = { nowMs: 0, columns: 80 };
  const painted = statusText(many, '/run/lp.sock', { ...view, paint: painter({ isTTY: true }, {}) });
  assert.notEqual(painted, strip(painted));
  assert.equal(strip(painted), statusText(many, '/run/lp.sock', view));
});

test('lazypull status says first what is wrong', () => {
  const problems = ['The \x1bconnection'];
  const line = statusText({ ...daemon, problems, layers: [] }, '/run/lp.sock', { nowMs: 0 }).split('\n')[2]!;
  assert.match(line, /^PROBLEM: The .*connection$/);
  assert.ok(!line.includes('\x1b'));
});

test('lazypull status shows a layer that is pulled, which is not mounted yet', () => {
  const pulled = { ...layer, mounts: 0, presentBytes: 0, contentBytes: 0, pulling: true };
  const begun = statusText({ ...daemon, layers: [pulled] }, '/run/lp.sock', { nowMs: 3_700_000 });
  assert.match(begun, /^up 1h 1m, 0 layers mounted,/m);
  assert.match(begun, / 0% pulling /);
  const half = statusText(
    { ...daemon, layers: [layer, { ...pulled, contentBytes: 40_000_000, presentBytes: 20_000_000 }] },
    '/run/lp.sock',
    { nowMs: 3_700_000, columns: 80 },
  );
  assert.match(half, /^up 1h 1m, 1 layer mounted,/m);
  assert.match(half, / 50% pulling /);
  assert.ok(half.split('\n').every((line) => displayWidth(line) <= 80));
});

test('lazypull status says how it got layers without a table of contents, and what it left to the client', () => {
  const named = (letters: string) => ({ ...layer, digest: `sha256:${letters.repeat(32)}` });
  const about = { reference: 'localhost:5000/app:1', message: '' };
  const status = withOutcomes({ ...daemon, layers: [named('ab'), named('cd'), named('ef')] }, [
    { ...about, digest: named('cd').digest, atMs: 1, reason: 'registry', message: 'It was down' },
    {
      ...about,
      digest: named('ab').digest,
      atMs: 2,
      reason: undefined,
      how: 'index',
      howText: 'by an index made here',
    },
    { ...about, digest: named('cd').digest, atMs: 3, reason: undefined, how: 'pull', howText: 'pulled here in 2.0 s' },
    { ...about, digest: named('ef').digest, atMs: 4, reason: undefined, how: 'toc', howText: 'by its table' },
    { ...about, digest: named('12').digest, atMs: 5, reason: 'size', message: 'The layer has 5 bytes' },
  ]);
  const text = statusText(status, '/run/lp.sock', { nowMs: 0 });
  assert.deepEqual(text.trimEnd().split('\n').slice(-3), [
    'abababababab  by an index made here',
    'cdcdcdcdcdcd  pulled here in 2.0 s',
    '121212121212  left to the client: The layer has 5 bytes',
  ]);
  const short = statusText(status, '/run/lp.sock', { nowMs: 0, columns: 80, lines: 8 }).trimEnd().split('\n');
  assert.ok(short.length <= 8);
  assert.match(short.at(-1)!, /^and 3 more/);
  assert.ok(short.at(-1)!.length <= 80);
});
