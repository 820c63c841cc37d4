import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { IndexStore } from '../../../src/indexes/index-store.ts';
import { silentLog } from '../../../src/log.ts';
import { keyPair, layerDigest, type MadeIndex, madeIndex, temporaryRoot } from '../../support/index-lab.ts';

const main = fileURLToPath(new URL('../../../src/bin/lazypull.ts', import.meta.url));
const made = { kind: 'made', where: '' } as const;

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `lazypull index` on the indexes of a root. */
function index(root: string, ...args: string[]): Promise<Result> {
  const all = [main, 'index', ...args, '--root', root];
  return new Promise((resolve) => {
    execFile(process.execPath, all, { encoding: 'latin1' }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
    );
  });
}

async function fill(root: string, ...indexes: MadeIndex[]): Promise<IndexStore> {
  const store = new IndexStore(root, 0, silentLog);
  for (const { index: each, bytes } of indexes) await store.keep({ ...each, origin: made }, [bytes]);
  return store;
}

test('lazypull index ls shows what is kept, and prune removes what was not used', async () => {
  await using root = await temporaryRoot();
  const [old, recent] = [madeIndex(layerDigest('old')), madeIndex(layerDigest('recent'))];
  const store = await fill(root.path, old, recent);
  const time = Date.now() / 1000 - 49 * 3600;
  await utimes((await store.list()).find(({ layer }) => layer === old.index.layer)!.path, time, time);
  const listed = await index(root.path, 'ls');
  assert.match(
    listed.stdout,
    /^LAYER +SIZE +LAST USED +FROM\n[0-9a-f]{12} +5\.0 kB +2d ago +made here\n[0-9a-f]{12} .*\n2 indexes, 10\.0 kB\n$/,
  );
  const rows = (await index(root.path, 'ls', '--json')).stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    rows.map(({ layer, from, bytes }) => ({ layer, from, bytes })),
    [old, recent].map(({ index: { layer } }) => ({ layer, from: 'made', bytes: 5000 })),
  );
  const pruned = await index(root.path, 'prune', '--older-than', '1d');
  assert.equal(pruned.stdout, `${old.index.layer}  5.0 kB\nremoved 1 index, 5.0 kB\n`);
  assert.equal((await index(root.path, 'prune', '--json')).stdout.trim().split('\n').length, 1);
  assert.deepEqual(await store.list(), []);
  assert.equal((await index(root.path, 'prune', '--older-than', 'x')).code, 2);
});

test('lazypull index export and import take indexes to another machine, signed if a key is given', async () => {
  await using from = await temporaryRoot();
  await using to = await temporaryRoot();
  const all = ['a', 'b', 'c'].map((name) => madeIndex(layerDigest(name)));
  await fill(from.path, ...all);
  const key = keyPair();
  const [keyFile, config, file] = ['key.pem', 'config.toml', 'indexes.tar'].map((name) => join(from.path, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(keyFile, key.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  await writeFile(config, `[index]\ntrusted_keys = [${JSON.stringify(key.publicPem)}]\n`);

  const exported = await index(from.path, 'export', '--layer', layerDigest('a'), file);
  assert.match(exported.stderr, /Exported 1 index of ".*" to ".*indexes\.tar", 5\.0 kB/);
  const unsigned = await index(to.path, 'import', '--config', config, file);
  assert.equal(unsigned.stdout, '1\n');
  assert.match(unsigned.stderr, /The index of [0-9a-f]{12} will not be used: it is not signed/);

  await index(from.path, 'export', '--sign', keyFile, file);
  const signed = await index(to.path, 'import', '--config', config, file);
  assert.equal(signed.stdout, '3\n');
  assert.match(signed.stderr, /^lazypull: Imported 3 indexes into ".*"\n$/);
  const store = new IndexStore(to.path, 0, silentLog);
  for (const { index: each, bytes } of all) {
    const kept = await store.find(each.layer);
    assert.deepEqual(kept?.origin, { kind: 'imported', where: 'indexes.tar' });
    assert.equal(typeof kept?.signature?.key, 'string');
    assert.deepEqual(await store.read(kept!, 0, 5000), bytes);
  }
});

test('lazypull index import keeps what was made here, and refuses a damaged file', async () => {
  await using from = await temporaryRoot();
  await using to = await temporaryRoot();
  await fill(from.path, madeIndex(layerDigest('a')), madeIndex(layerDigest('b')));
  const own = madeIndex(layerDigest('b'));
  const store = await fill(to.path, own);
  const { stdout } = await index(from.path, 'export');
  const file = join(from.path, 'indexes.tar');
  const bytes = Buffer.from(stdout, 'latin1');
  await writeFile(file, bytes);
  assert.equal((await index(to.path, 'import', file)).stdout, '1\n');
  assert.equal((await store.find(layerDigest('b')))?.digest, own.index.digest);

  await store.remove(layerDigest('a'));
  const at = bytes.length - 2000; // of the last one
  bytes[at]! ^= 1;
  await writeFile(file, bytes);
  const damaged = await index(to.path, 'import', file);
  assert.equal(damaged.code, 1);
  assert.match(damaged.stderr, /Cannot use a layer index: /);
  assert.equal(await store.find(layerDigest('a')), undefined);
  await writeFile(file, bytes.subarray(0, at));
  assert.equal((await index(to.path, 'import', file)).code, 1);
  assert.match((await index(to.path, 'import', main)).stderr, /tar archive/);
  assert.match((await index(to.path, 'import', '/not/there')).stderr, /Cannot read "\/not\/there"/);
});

test('lazypull index export leaves a file as it was when it fails', async () => {
  await using root = await temporaryRoot();
  const file = join(root.path, 'indexes.tar');
  await writeFile(file, 'before');
  const { code, stderr } = await index(root.path, 'export', '--layer', layerDigest('a'), file);
  assert.equal(code, 1);
  assert.match(stderr, /There is no index of the layer sha256:/);
  assert.equal(await readFile(file, 'utf8'), 'before');
  await assert.rejects(stat(`${file}.new`), { code: 'ENOENT' });
});
