import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { jsonLines, listingText } from '../../../src/cli/ls.ts';
import { type EntryType, type IndexEntry, plainEntry } from '../../../src/formats/layer-index.ts';
import type { ImageFile } from '../../../src/image-reader/image-tree.ts';
import { startRegistry } from '../../support/registry.ts';
import { serveImage } from '../../support/served-image.ts';

function file(path: string, type: EntryType, more: Partial<IndexEntry> = {}, links = 1): ImageFile {
  const entry: IndexEntry = { ...plainEntry, path, type, mtimeSeconds: 1_000_000_000, mtimeNanoseconds: 5, ...more };
  return { path, entry, links, layer: 0, isDirectory: type === 'dir' };
}

const files = [
  file('d/dir', 'dir', { mode: 0o1777 }, 12),
  file('d/tool\x1b', 'reg', { mode: 0o4755, uid: 70_000, size: 123_456 }),
  file('d/link', 'symlink', { mode: 0o777, linkTarget: '../\xc3\xa9' }),
  file('d/tty', 'char', { mode: 0o2606, devMajor: 5, devMinor: 1 }),
  file('d/caf\xe9', 'fifo'),
];

test('lazypull ls writes what ls -l does, and nothing that a terminal obeys', () => {
  assert.equal(
    listingText(files, file('d', 'dir')),
    [
      '/d:',
      'drwxrwxrwt  12      0  0       0  2001-09-09 01:46  dir',
      '-rwsr-xr-x   1  70000  0  123456  2001-09-09 01:46  tool?',
      'lrwxrwxrwx   1      0  0       5  2001-09-09 01:46  link -> ../é',
      'crw---Srw-   1      0  0    5, 1  2001-09-09 01:46  tty',
      'prw-r--r--   1      0  0       0  2001-09-09 01:46  caf\ufffd',
      '',
      '',
    ].join('\n'),
  );
});

test('lazypull ls --json has every path as it is', () => {
  const lines = jsonLines(files, ['sha256:a']).trimEnd().split('\n');
  const objects = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(objects[1], {
    path: '/d/tool\x1b',
    type: 'file',
    mode: '4755',
    links: 1,
    uid: 70_000,
    gid: 0,
    size: 123_456,
    mtime: '2001-09-09T01:46:40.000000005Z',
    layer: 'sha256:a',
  });
  assert.equal(objects[2]!['target'], '../é');
  assert.deepEqual(objects[3]!['device'], [5, 1]);
  assert.equal(Buffer.from(String(objects[4]!['pathBase64']), 'base64').toString('latin1'), '/d/caf\xe9');
  assert.equal(objects[0]!['pathBase64'], undefined);
});

test('lazypull ls and cat show an image that was never pulled, and say what they cannot', async () => {
  await using registry = await startRegistry();
  const content = Buffer.from([0, 1, 0xff, 0x0a]);
  serveImage(registry, 'app', [
    [
      { path: 'etc', type: 'dir', mode: 0o755 },
      { path: 'etc/data', type: 'reg', mode: 0o600, content },
      { path: 'link', type: 'symlink', mode: 0o777, linkTarget: 'etc' },
    ],
  ]);
  const image = `${registry.host}/app:1`;
  const [listed, all, cat, missing, directory, usage] = await Promise.all([
    lazypull('ls', image, '/link'),
    lazypull('ls', '-R', image),
    lazypull('cat', image, 'link/data'),
    lazypull('cat', image, '/etc/nothing'),
    lazypull('cat', image, 'etc'),
    lazypull('cat', image),
  ]);
  assert.match(listed.stdout, /^-rw-------  1  0  0  4  .*  data\n$/);
  assert.match(all.stdout, /^\/:\ndrwx.*etc\nlrwx.*link -> etc\n\n\/etc:\n-rw-.*data\n\n$/);
  assert.deepEqual([cat.code, cat.stdout], [0, content.toString('latin1')]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /^lazypull: Cannot find "\/etc\/nothing" in the image: there is no "\/etc\/nothing"\n$/);
  assert.match(directory.stderr, /it is a directory; list it with "lazypull ls"/);
  assert.equal(usage.code, 2);
});

const bin = fileURLToPath(new URL('../../../src/bin/lazypull.ts', import.meta.url));

function lazypull(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bin, ...args], { encoding: 'latin1' }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}
