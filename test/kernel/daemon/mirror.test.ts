import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { mirrorAddressOf } from '../../../src/mirror/address.ts';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import type { ImageLayer } from '../../support/snapshots-client.ts';
import { until } from '../../support/until.ts';

const mib = 1 << 20;

/** Heads of the parts of multipart answers. */
const overheadBytes = 32 << 10;

/** How long after it has come something is surely written down. */
const writtenMs = 2_500;

const lazy = 'noprefetch = true\nno_background_fetch = true\n';

describe('The mirror of a daemon', () => {
  let lab: LayerLab;
  let files: FileSpec[];
  let blob: Buffer;
  let layer: ImageLayer;
  let address: string;
  before(async () => {
    lab = await LayerLab.open(`${lazy}[mirror]\naddress = "127.0.0.1:0"\n`);
    files = Array.from({ length: 6 }, (_, i) => ({ path: `f${i}`, type: 'reg', content: randomBytes(4 * mib) }));
    const made = estargzBlob(files);
    blob = made.bytes;
    layer = lab.layer(made);
    address = (await mirrorAddressOf(lab.root)) ?? assert.fail('There is no mirror');
  });
  after(() => lab[Symbol.asyncDispose]());

  const get = async (headers: Record<string, string> = {}): Promise<Buffer> => {
    const url = `http://${address}/v2/image/blobs/${layer.digest}?ns=${lab.registry.host}`;
    const answer = await fetch(url, { headers });
    assert.ok(answer.ok, `${answer.status}: the mirror does not give the blob`);
    return Buffer.from(await answer.arrayBuffer());
  };
  const fetched = () => lab.registry.bytes;

  test('gives what a layer has fetched, also when it is killed in mid-download and started again, at the same port', async () => {
    const mounted = await lab.mount(await lab.prepare([layer]));
    assert.ok((await readFile(join(mounted, 'f1'))).equals(files[1]!.content!));
    assert.ok(fetched() < blob.length / 2, 'most of the layer was fetched');
    const drip = { kind: 'drip', bytes: 64 << 10, everyMs: 20 } as const;
    lab.registry.script({ path: /blobs/ }, drip, drip, drip, drip);
    const broken = assert.rejects(get());
    await delay(writtenMs);
    const before = fetched();
    assert.ok(before < blob.length, 'it was not in mid-download');
    await lab.restart('SIGKILL');
    await broken;
    lab.registry.forgetFaults();
    assert.equal(await mirrorAddressOf(lab.root), address);
    const since = fetched();
    assert.ok((await get()).equals(blob));
    assert.ok(fetched() - since < blob.length - before + 12 * mib, 'what was there was fetched again');
    assert.ok(fetched() - since < blob.length - 6 * mib, 'what was there was fetched again');
  });

  test('has the bytes that the layer needs then, so that the registry is not asked again', async () => {
    const since = lab.registry.count();
    const mounted = await lab.mount(await lab.prepare([layer]));
    for (const { path, content } of files) assert.ok((await readFile(join(mounted, path))).equals(content!), path);
    assert.ok((await get({ range: 'bytes=1000-' })).equals(blob.subarray(1000)));
    assert.equal(lab.registry.count(), since);
  });

  test('throws away what the disk has changed, and gets it again', async () => {
    await lab.restart('SIGKILL');
    await using data = await open(join(lab.root, 'blobs', layer.digest.slice('sha256:'.length), 'data'), 'r+');
    await data.write(Buffer.from([blob[5 * mib]! ^ 1]), 0, 1, 5 * mib);
    await assert.rejects(get());
    const since = fetched();
    assert.ok((await get()).equals(blob));
    assert.ok(fetched() - since <= blob.length + overheadBytes);
  });

  test('hands over to the next daemon', async () => {
    const since = lab.registry.count();
    const { ready } = await lab.takeOver();
    await ready;
    assert.equal(await mirrorAddressOf(lab.root), undefined, 'the new daemon has no mirror, and says so');
    assert.equal((await readdir(lab.root)).includes('blobs'), false, 'what is of no use is kept');
    assert.equal(lab.registry.count(), since);
  });
});

test('The mirror keeps within the limits of the cache, and gives what it cannot keep all the same', async () => {
  await using lab = await LayerLab.open(`${lazy}[mirror]\naddress = "127.0.0.1:0"\n[cache]\nmax_size = "30MB"\n`);
  const address = await mirrorAddressOf(lab.root);
  const kept = () => readdir(join(lab.root, 'blobs'));
  const contents = Array.from({ length: 5 }, () => randomBytes(10 * mib));
  for (const content of contents) {
    const url = `http://${address}/v2/a/blobs/${lab.registry.addBlob(content)}?ns=${lab.registry.host}`;
    assert.ok(Buffer.from(await (await fetch(url)).arrayBuffer()).equals(content));
    await delay(20); // the times of the files differ
  }
  await until(async () => (await kept()).length <= 2, 'more than two blobs are kept');
});
