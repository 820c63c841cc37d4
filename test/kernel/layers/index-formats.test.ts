import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { GzipPool } from '../../../src/convert/gzip-pool.ts';
import { writeEstargz } from '../../../src/convert/estargz-writer.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { run } from '../../support/program.ts';
import type { ImageLayer } from '../../support/snapshots-client.ts';
import { buildTar } from '../../support/tar-builder.ts';
import { repository } from '../../support/tools.ts';
import { assertSameTree, describeTar, describeTree, withoutRoot } from '../../support/tree.ts';

const text = (bytes: number): Buffer => Buffer.from(randomBytes(bytes).toString('base64')).subarray(0, bytes);

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open('no_background_fetch = true\nnoprefetch = true\n');
});
after(() => lab[Symbol.asyncDispose]());

/** A tar with holes, as GNU tar writes it in one of its formats. */
async function sparseTar(format: string): Promise<Buffer> {
  const directory = await lab.workspace.directory(`sparse-${format}`);
  const script = `
    cd "$1"
    head -c 3000000 /dev/urandom | base64 > before
    truncate -s 50M many; truncate -s 7M nothing
    for i in $(seq 1 7 120); do head -c 5000 /dev/urandom | dd of=many bs=4096 seek=$((i * 97)) conv=notrunc status=none; done
    truncate -s 60M end; head -c 2000000 /dev/urandom | base64 | dd of=end bs=1M seek=30 conv=notrunc status=none
    ln many hard
    head -c 1000000 /dev/urandom > after
    touch -d @1700000000 *
  `;
  await run('bash', ['-euo', 'pipefail', '-c', script, 'bash', directory]);
  const tar = join(lab.workspace.path, `${format}.tar`);
  const flags = format === 'gnu' ? ['--format=gnu'] : ['--format=pax', `--sparse-version=${format}`];
  await run('tar', [...flags, '--sparse', '--sort=name', '--numeric-owner', '-C', directory, '-cf', tar, '.']);
  return readFile(tar);
}

async function treeOf(layer: ImageLayer, use: (root: string) => Promise<unknown> = async () => {}): Promise<string[]> {
  const image = await lab.prepare([layer]);
  const root = await lab.mount(image);
  await use(root);
  const tree = withoutRoot(await describeTree(root));
  await lab.unmount(root);
  await lab.remove(image, 1);
  return tree;
}

async function forget(): Promise<void> {
  await run(join(repository, 'bin', 'lazypull'), ['cache', 'prune', '--address', lab.socket]);
}

function how(): string {
  const prepared = lab.daemon.log().filter(({ msg }) => msg === 'prepared remote snapshot');
  return String(prepared.at(-1)?.['how']);
}

const requestsOf = ({ digest }: ImageLayer) => lab.registry.requests.filter(({ path }) => path.includes(digest));

/**
 * Pulls a layer, and then reads it by the index that was made; the daemon is killed while it does.
 *
 * @returns how it was made at first
 */
async function assertIndexed(tar: Buffer, blob: Buffer): Promise<string> {
  const layer = { digest: lab.registry.addBlob(blob), annotations: {} };
  const path = join(lab.workspace.path, 'expected.tar');
  await writeFile(path, tar);
  const expected = withoutRoot(await describeTar(path, lab.workspace.path));
  assertSameTree(await treeOf(layer), expected);
  const first = how();
  await forget();
  const reading = async (root: string): Promise<void> => {
    const all = run('sh', ['-c', `find ${root} -type f -exec cat {} + > /dev/null`]);
    await lab.crash();
    await all;
  };
  assertSameTree(await treeOf(layer, reading), expected);
  assert.match(how(), /^by an index made here$/);
  await forget();
  return first;
}

const files = Array.from({ length: 300 }, (_, i) => ({ name: `file-${i}`, data: text((i * 7919) % 90_000), mtime: i }));
const tar = buildTar(files);
const framed = (bytes: number): Buffer =>
  Buffer.concat(
    Array.from({ length: Math.ceil(tar.length / bytes) }, (_, i) =>
      zstdCompressSync(tar.subarray(i * bytes, (i + 1) * bytes)),
    ),
  );

test('A layer of zstd frames is lazy by an index, and fetched in parts', async () => {
  const blob = framed(300_000);
  assert.match(await assertIndexed(tar, blob), /index made$/);
  const layer = { digest: lab.registry.addBlob(blob), annotations: {} };
  const before = requestsOf(layer).length;
  await treeOf(layer, async (root) => {
    await readFile(join(root, 'file-150'));
    const bytes = requestsOf(layer)
      .slice(before)
      .reduce((sum, request) => sum + request.bytes, 0);
    assert.ok(bytes < blob.length / 4, `fetched ${bytes} of ${blob.length} bytes`);
  });
  await forget();
});

test('A layer of one zstd frame is lazy by an index if it is short, and else pulled each time', async () => {
  assert.match(await assertIndexed(tar, zstdCompressSync(tar)), /index made$/);
  const long = buildTar([{ name: 'file', data: Buffer.alloc(70 << 20) }]);
  const layer = { digest: lab.registry.addBlob(zstdCompressSync(long)), annotations: {} };
  for (let time = 0; time < 2; time++) {
    await treeOf(layer);
    assert.match(how(), /^pulled here in .*no index made: .* without a checkpoint/);
    await forget();
  }
});

for (const format of ['gnu', '0.0', '0.1', '1.0']) {
  test(`A layer with sparse files of the form ${format} is lazy by an index`, async () => {
    const tar = await sparseTar(format);
    assert.match(await assertIndexed(tar, gzipSync(tar, { level: 1 })), /index made$/);
    assert.match(await assertIndexed(tar, tar), /index made$/);
  });
}

/** A layer with a file of 12 MiB. */
async function estargzLayer(name: string): Promise<ImageLayer & { bytes: number }> {
  await using pool = new GzipPool(1, 1);
  const parts: Uint8Array[] = [];
  const sink = (data: Uint8Array) => Promise.resolve(void parts.push(data));
  const tar = Readable.from([buildTar([{ name, data: text(12 << 20) }])]);
  const { tocDigest, size } = await writeEstargz(tar, sink, { pool, chunkBytes: 1 << 20 });
  return { ...lab.layer({ bytes: Buffer.concat(parts), context: { tocDigest } }), bytes: size };
}

test('eStargz layers of a registry that gives no parts are pulled, and stay across a kill of the daemon', async () => {
  lab.registry.options.ranges = false;
  try {
    const layers = await Promise.all([1, 2, 3].map((number) => estargzLayer(`file-${number}`)));
    const image = await lab.prepare(layers);
    const root = await lab.mount(image);
    for (const number of [1, 2, 3]) await readFile(join(root, `file-${number}`));
    for (const layer of layers) {
      assert.equal(requestsOf(layer).filter(({ bytes }) => bytes === layer.bytes).length, 1, 'it is pulled once');
    }
    assert.match(how(), /^pulled here in .*index made; it cannot be lazy: its registry gives no parts of layers$/);
    await lab.crash();
    for (const number of [1, 2, 3]) assert.equal((await readFile(join(root, `file-${number}`))).length, 12 << 20);
    await lab.unmount(root);
    await lab.remove(image, 3);
    await lab.restart('SIGTERM'); // which forgets what the registry does
    const before = lab.registry.requests.length;
    const again = await lab.prepare(layers);
    assert.equal(lab.registry.requests.length, before, 'they are here, and need no registry');
    await lab.remove(again, 3);
    await forget();
  } finally {
    lab.registry.options.ranges = true;
  }
});

test('A layer of a registry that gives no parts is pulled with one request each time', async () => {
  lab.registry.options.ranges = false;
  try {
    const large = buildTar([{ name: 'file', data: text(12 << 20) }]);
    const blob = gzipSync(large, { level: 1 });
    const layer = { digest: lab.registry.addBlob(blob), annotations: {} };
    const whole = () => requestsOf(layer).filter(({ bytes }) => bytes === blob.length).length;
    for (let time = 1; time <= 2; time++) {
      await treeOf(layer, () => lab.crash());
      assert.match(how(), /^pulled here in .*index made; it cannot be lazy: its registry gives no parts of layers$/);
      assert.equal(whole(), time);
      await forget();
    }
  } finally {
    lab.registry.options.ranges = true;
  }
});
