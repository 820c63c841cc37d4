import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LazypullError } from '../../../../src/errors.ts';
import type { IndexPart } from '../../../../src/formats/layer-format.ts';
import { IndexParts } from '../../../../src/layers/fetch/index-parts.ts';

const file = randomBytes(4 << 20);

function part(start: number, end: number): IndexPart {
  return { start, end, digest: hash('sha256', file.subarray(start, end), 'buffer') };
}

/** The copy of an index file, and what is fetched of it. */
function copy(t: TestContext, source = file) {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-parts-'));
  const path = join(directory, 'index');
  const fetched: string[] = [];
  const open = (): IndexParts =>
    new IndexParts(path, (start, end) => {
      fetched.push(`${start}-${end}`);
      return Promise.resolve(source.subarray(start, end));
    });
  t.after(() => rmSync(directory, { recursive: true }));
  return { path, fetched, open };
}

test('IndexParts brings parts that lie together with one fetch, once', async (t) => {
  const { path, fetched, open } = copy(t);
  await using parts = open();
  const wanted = [part(100, 200), part(200, 400), part(1 << 20, (1 << 20) + 50)];
  await Promise.all([parts.need(wanted), parts.need(wanted)]);
  await parts.need([wanted[1]!]);
  assert.deepEqual(fetched, ['100-400', `${1 << 20}-${(1 << 20) + 50}`]);
  const kept = readFileSync(path);
  for (const { start, end } of wanted) assert.deepEqual(kept.subarray(start, end), file.subarray(start, end));
});

test('IndexParts believes what is in the copy by its digest alone', async (t) => {
  const { path, fetched, open } = copy(t);
  const spoilt = Buffer.from(file);
  spoilt.fill(0, 200, 400);
  writeFileSync(path, spoilt);
  await using parts = open();
  await parts.need([part(100, 200), part(200, 400), part(3 << 20, (3 << 20) + 5)]);
  assert.deepEqual(fetched, ['200-400']);
});

test('IndexParts rejects what comes with another digest, and asks for it again', async (t) => {
  const { fetched, open } = copy(t, Buffer.alloc(file.length));
  await using parts = open();
  await assert.rejects(parts.need([part(100, 200)]), { code: 'DataLoss' });
  await assert.rejects(parts.need([part(100, 200)]), { code: 'DataLoss' });
  assert.equal(fetched.length, 2);
});

test('IndexParts passes on why nothing comes', async (t) => {
  const { path } = copy(t);
  await using parts = new IndexParts(path, () => Promise.reject(new LazypullError('Unavailable', 'no route')));
  await assert.rejects(parts.need([part(0, 10)]), { code: 'Unavailable', message: 'no route' });
});
