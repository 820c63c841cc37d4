import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { repository } from '../../support/tools.ts';
import { until } from '../../support/until.ts';

const mib = 1 << 20;

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open('metrics_address = "127.0.0.1:0"\n[cache]\nmax_size = "28MiB"\nlow_water = 0.9\n');
});
after(() => lab[Symbol.asyncDispose]());

/** A lazy layer of 8 MiB, all of which has been read. */
async function readLayer() {
  const file: FileSpec & { content: Buffer } = { path: 'file', type: 'reg', content: randomBytes(8 * mib) };
  const layer = lab.layer(estargzBlob([file], mib));
  const snapshot = await lab.prepare([layer]);
  const directory = join(lab.root, 'layers', layer.digest.slice('sha256:'.length));
  const read = async () => {
    const root = await lab.mount(snapshot);
    try {
      assert.ok((await readFile(join(root, 'file'))).equals(file.content));
    } finally {
      await lab.unmount(root);
    }
  };
  await read();
  return { content: file.content, digest: layer.digest, directory, read, remove: () => lab.remove(snapshot, 1) };
}

const kept = () => readdir(join(lab.root, 'layers'));

function cache(...args: string[]): Promise<{ code: number; lines: Record<string, unknown>[] }> {
  const command = [join(repository, 'bin', 'lazypull'), 'cache', ...args, '--json'] as const;
  const flags = ['--root', lab.root, '--address', lab.socket];
  return new Promise((resolve, reject) => {
    execFile(command[0], [...command.slice(1), ...flags], (error, stdout, stderr) => {
      const text = stdout.split('\n').filter((line) => line !== '');
      if (stderr !== '') reject(new Error(stderr));
      else
        resolve({
          code: typeof error?.code === 'number' ? error.code : 0,
          lines: text.map((line) => JSON.parse(line) as Record<string, unknown>),
        });
    });
  });
}

test('The daemon keeps what fits, removes the longest unused, and says when layers in use take all of it', async () => {
  const old = await readLayer();
  await old.remove();
  const unused = await readLayer();
  await unused.remove();
  const used = [await readLayer()];
  await delay(3000);
  assert.equal((await kept()).length, 3, 'what is not in use is kept as long as there is space');

  used.push(await readLayer());
  await until(async () => (await kept()).length <= 3);
  const names = await kept();
  assert.ok(!names.includes(old.digest.slice('sha256:'.length)));
  assert.ok(names.includes(unused.digest.slice('sha256:'.length)));

  used.push(await readLayer(), await readLayer());
  await until(() => lab.complaints.some(({ msg }) => /layers in use take all/.test(String(msg))));
  assert.equal((await kept()).length, 4);
  assert.equal((await lab.metrics()).get('lazypull_layers_cache_full'), 1);
  for (const layer of used) await layer.read();
  for (const layer of used) await layer.remove();
  await until(async () => (await kept()).length <= 3);
  const metrics = await lab.metrics();
  assert.equal(metrics.get('lazypull_layers_removed_total'), 3);
});

test('lazypull cache works with the files of a running daemon, and leaves alone what it uses', async () => {
  await cache('prune');
  const used = await readLayer();
  const unused = await readLayer();
  await unused.remove();
  const { lines: listed } = await cache('ls');
  const inUse = new Map(listed.map((layer) => [layer['digest'], layer['inUse']]));
  assert.deepEqual(
    inUse,
    new Map([
      [used.digest, true],
      [unused.digest, false],
    ]),
  );

  const [toc = ''] = await readdir(used.directory);
  const disk = await open(join(used.directory, toc, 'disk'), 'r+');
  const at = (await disk.readFile()).indexOf(used.content.subarray(0, 100));
  await disk.write(randomBytes(5), 0, 5, at + 3 * mib);
  await disk.close();
  const verified = await cache('verify');
  assert.equal(verified.code, 1);
  const found = new Map(verified.lines.map(({ layer, found }) => [(layer as { digest: string }).digest, found]));
  assert.deepEqual(found.get(used.digest), { parts: 8, damaged: 1 });
  assert.deepEqual(found.get(unused.digest), { parts: 8, damaged: 0 });
  assert.equal((await cache('verify')).code, 0);
  await lab.dropCaches();
  await used.read();

  const { lines: removed } = await cache('prune');
  assert.deepEqual(
    removed.map(({ digest }) => digest),
    [unused.digest],
  );
  assert.deepEqual(await kept(), [used.digest.slice('sha256:'.length)]);
  await used.read();
});
