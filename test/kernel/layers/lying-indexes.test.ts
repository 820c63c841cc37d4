import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { sha256 } from '../../../src/chunks/digest.ts';
import { tailStart } from '../../../src/formats/layer-index-file/footer.ts';
import { encodeArtifact, tagOfLayer } from '../../../src/indexes/artifact.ts';
import { ociManifest } from '../../../src/images/media-types.ts';
import { changedIndex, type RawIndex } from '../../support/changed-index.ts';
import { buildLayerIndex } from '../../support/layer-index-builder.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { run } from '../../support/program.ts';
import { buildTar } from '../../support/tar-builder.ts';
import { repository } from '../../support/tools.ts';

const indexRepository = 'team/indexes';
const fileCount = 12;
const fileBytes = 400_000;
const spanBytes = 256 << 10;

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open(
    ({ host }) => `no_background_fetch = true\nnoprefetch = true\n[index]\nrepository = "${host}/${indexRepository}"\n`,
  );
});
after(() => lab[Symbol.asyncDispose]());

/** A layer of files with content of its own, and what its index says. */
async function newLayer() {
  const files = Array.from({ length: fileCount }, (_, i) => ({
    name: `file-${i}`,
    data: Buffer.from(randomBytes(fileBytes / 2).toString('hex')),
  }));
  const blob = gzipSync(buildTar(files), { level: 1 });
  const { file: index } = await buildLayerIndex(blob, { spanBytes });
  const layer = { digest: lab.registry.addBlob(blob), annotations: {} };
  return { files, blob, index, layer };
}

type NewLayer = Awaited<ReturnType<typeof newLayer>>;

/** Puts a file into the repository as the index of a layer. The manifest has the digests of `promised`. */
function offer(layer: string, file: Buffer, promised = file): void {
  const tail = promised.subarray(tailOf(promised));
  const index = {
    layer,
    digest: sha256(promised),
    size: promised.length,
    tail: { bytes: tail.length, digest: sha256(tail) },
  };
  lab.registry.blobs.set(index.digest, file);
  lab.registry.addManifest(indexRepository, tagOfLayer(layer), ociManifest, encodeArtifact(index));
}

function tailOf(file: Buffer): number {
  try {
    return tailStart(file.length, file);
  } catch {
    return Math.floor(file.length / 2); // it is none
  }
}

/** Reads every file of a snapshot. No byte is wrong: there are files that cannot be read, or none. @returns how many */
async function unreadable(snapshot: string, files: NewLayer['files']): Promise<number> {
  const root = await lab.mount(snapshot);
  let failures = 0;
  for (const { name, data } of files) {
    try {
      assert.ok((await readAll(join(root, name))).equals(data), `"${name}" has wrong bytes`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error;
      failures++;
    }
  }
  await lab.unmount(root);
  return failures;
}

/**
 * All of a file. `readFile` takes a read that gives less than was asked for, as one before an error does, for the end.
 */
async function readAll(path: string): Promise<Buffer> {
  await using file = await open(path);
  const pieces: Buffer[] = [];
  for (;;) {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(1 << 20));
    if (bytesRead === 0) return Buffer.concat(pieces);
    pieces.push(buffer.subarray(0, bytesRead));
  }
}

/** Removes a snapshot and what is kept of its layer, but for the index. */
async function forget(snapshot: string): Promise<void> {
  await lab.remove(snapshot, 1);
  await run(join(repository, 'bin', 'lazypull'), ['cache', 'prune', '--address', lab.socket]);
}

/** How the layer came to be that was prepared last. */
function how(): string {
  return String(lab.daemon.log().findLast(({ msg }) => msg === 'prepared remote snapshot')?.['how']);
}

function complaintsOf({ layer }: NewLayer): Record<string, unknown>[] {
  return lab.complaints.filter((complaint) => complaint['layer'] === layer.digest);
}

const middle = ({ spans }: RawIndex) => spans[Math.floor(spans.length / 2)]!;

/** What is offered in place of the index of a layer, of which a mount sees nothing wrong. */
const lateLiars: Record<string, (own: NewLayer) => void> = {
  'with a flipped bit in a window': ({ layer, index }) => {
    const flipped = Buffer.from(index);
    flipped[1000]! ^= 1; // windows lie at the start
    offer(layer.digest, flipped);
  },
  'with a flipped bit that its digest shows': ({ layer, index }) => {
    const flipped = Buffer.from(index);
    flipped[1000]! ^= 1;
    offer(layer.digest, flipped, index);
  },
  'whose checkpoints are at the places of others': ({ layer, index }) => {
    const changed = changedIndex(index, ({ spans }) => {
      const [one, other] = [spans[3]!, spans[4]!];
      [one.blobStep, other.blobStep] = [one.blobStep + 1000, other.blobStep - 1000];
    });
    offer(layer.digest, changed);
  },
  'whose windows are in another order': ({ layer, index }) => {
    const changed = changedIndex(index, ({ spans }) => {
      const windows = spans.filter(({ window }) => window !== undefined);
      const [one, other] = [windows[1]!, windows[2]!];
      [one.window, other.window] = [other.window, one.window];
      [one.windowBytes, other.windowBytes] = [other.windowBytes, one.windowBytes];
    });
    offer(layer.digest, changed);
  },
  'with a window that inflates to far more than a window': ({ layer, index }) => {
    const changed = changedIndex(index, (raw) => {
      const window = deflateRawSync(Buffer.alloc(30 << 20));
      Object.assign(middle(raw), { window, windowBytes: window.length });
    });
    offer(layer.digest, changed);
  },
  'with digests of other chunks': ({ layer, index }) => {
    const changed = changedIndex(index, (raw) => {
      const at = raw.rest.length - 2000; // before the entries, whose columns are short
      raw.rest[at]! ^= 1;
      raw.rest[Math.floor(raw.rest.length / 2)]! ^= 1;
    });
    offer(layer.digest, changed);
  },
};

for (const [what, lie] of Object.entries(lateLiars)) {
  test(`An index ${what} gives errors or right bytes, and then the layer is pulled`, async () => {
    const own = await newLayer();
    lie(own);
    const snapshot = await lab.prepare([own.layer]);
    const first = how();
    const failures = await unreadable(snapshot, own.files);
    await forget(snapshot);
    if (failures > 0) assert.match(first, /^by an index found in /);
    const again = await lab.prepare([own.layer]);
    if (failures > 0) assert.match(how(), /^pulled here in /);
    assert.equal(await unreadable(again, own.files), 0);
    await forget(again);
    assert.ok(complaintsOf(own).length > 0, 'nothing is said');
  });
}

/** What is offered in place of the index of a layer, of which a mount sees that it is wrong. */
const earlyLiars: Record<string, (own: NewLayer) => Promise<void> | void> = {
  'of another layer': async ({ layer }) => offer(layer.digest, (await newLayer()).index),
  'that is truncated': ({ layer, index }) => offer(layer.digest, index.subarray(0, -1)),
  'that is truncated at its start': ({ layer, index }) => offer(layer.digest, index.subarray(5000)),
  'that promises the digest of another tail': ({ layer, index }) => {
    const flipped = Buffer.from(index);
    flipped[index.length - 100]! ^= 1;
    offer(layer.digest, flipped, index);
  },
  'whose checkpoints are out of order': ({ layer, index }) => {
    offer(
      layer.digest,
      changedIndex(index, ({ spans }) => (spans[4]!.outputStep = 0)),
    );
  },
  'with a window of 2 GiB': ({ layer, index }) => {
    offer(
      layer.digest,
      changedIndex(index, (raw) => (middle(raw).windowBytes = 2 ** 31)),
    );
  },
  'whose windows are longer than they are': ({ layer, index }) => {
    offer(
      layer.digest,
      changedIndex(index, (raw) => middle(raw).windowBytes++),
    );
  },
};

for (const [what, lie] of Object.entries(earlyLiars)) {
  test(`An index ${what} is not used: the layer is pulled`, async () => {
    const own = await newLayer();
    await lie(own);
    const snapshot = await lab.prepare([own.layer]);
    assert.match(how(), /^pulled here in /);
    assert.equal(await unreadable(snapshot, own.files), 0);
    await forget(snapshot);
    assert.ok(complaintsOf(own).length > 0, 'nothing is said');
  });
}

test('A blob that is another one the second time gives errors, and the index that was made here stays', async () => {
  const own = await newLayer();
  const first = await lab.prepare([own.layer]);
  assert.match(how(), /^pulled here in .*index made$/);
  await forget(first);
  const other = await newLayer();
  lab.registry.blobs.set(own.layer.digest, other.blob.subarray(0, own.blob.length));
  const second = await lab.prepare([own.layer]);
  assert.equal(how(), 'by an index made here');
  assert.ok((await unreadable(second, own.files)) > 0);
  const told = complaintsOf(own).filter(({ msg }) => String(msg).startsWith('the registry serves other bytes'));
  assert.equal(told.length, 1);
  assert.match(String(told[0]!['index']), /^sha256:[0-9a-f]{64}$/);
  lab.registry.blobs.set(own.layer.digest, own.blob);
  assert.equal(await unreadable(second, own.files), 0, 'it is read once the blob is right again');
  await forget(second);
  const third = await lab.prepare([own.layer]);
  assert.equal(how(), 'by an index made here');
  await forget(third);
});

test('A blob that is not what an index from elsewhere says gives errors, and then the layer is not lazy by that index', async () => {
  const own = await newLayer();
  offer(own.layer.digest, own.index);
  const other = await newLayer();
  lab.registry.blobs.set(own.layer.digest, other.blob.subarray(0, own.blob.length));
  const first = await lab.prepare([own.layer]);
  assert.match(how(), /^by an index found in /);
  assert.ok((await unreadable(first, own.files)) > 0);
  await forget(first);
  const reasons = complaintsOf(own).map(({ reason }) => String(reason));
  assert.ok(reasons.some((text) => text.startsWith(`it does not match the bytes of the blob ${own.layer.digest}`)));
  assert.equal(await lab.isLazy(own.layer), false, 'the blob does not have its digest');
  lab.registry.blobs.set(own.layer.digest, own.blob);
  const second = await lab.prepare([own.layer]);
  assert.match(how(), /^pulled here in /);
  assert.equal(await unreadable(second, own.files), 0);
  await forget(second);
});
