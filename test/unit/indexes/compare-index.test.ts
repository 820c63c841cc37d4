import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeTail, type LayerIndexFile } from '../../../src/formats/layer-index-file/decode.ts';
import { tailStart } from '../../../src/formats/layer-index-file/footer.ts';
import { compareIndex, type GivenIndex } from '../../../src/indexes/compare-index.ts';
import { parseReference } from '../../../src/registry/reference.ts';
import { quickClient } from '../../support/index-lab.ts';
import { type BuildOptions, buildLayerIndex } from '../../support/layer-index-builder.ts';
import { plainImage } from '../../support/plain-image.ts';
import { startRegistry } from '../../support/registry.ts';
import { gunzipSync } from 'node:zlib';

const gzip = plainImage([3_000_000]).layers[0]!;
const small = { spanBytes: 200_000, chunkBytes: 30_000 };

/** The index of a blob from elsewhere, whose bytes `change` may spoil. */
async function given(blob: Buffer, options: BuildOptions): Promise<GivenIndex & { readonly file: Buffer }> {
  const { file, layerDigest } = await buildLayerIndex(blob, options);
  const content = decodeTail(file.subarray(tailStart(file.length, file)), { layerDigest, fileBytes: file.length });
  return { file, content, read: (start, end) => Promise.resolve(Buffer.from(file.subarray(start, end))) };
}

async function problemsOf(blob: Buffer, index: GivenIndex, made: LayerIndexFile): Promise<string[]> {
  await using registry = await startRegistry();
  await using client = quickClient();
  const digest = registry.addBlob(blob);
  return await compareIndex(index, made, client.blob(parseReference(`${registry.host}/a`), digest));
}

test('compareIndex finds nothing wrong with an index that was cut otherwise', async () => {
  for (const blob of [gzip, gunzipSync(gzip)]) {
    const { content: made } = await given(blob, {});
    assert.deepEqual(await problemsOf(blob, await given(blob, small), made), []);
  }
});

test('compareIndex finds entries that are other ones', async () => {
  const { content: made } = await given(gzip, {});
  const change: ((content: LayerIndexFile) => void)[] = [
    ({ index }) => (index.entries[1]!.mode = 0o777),
    ({ index }) => (index.entries[1]!.path = 'x'),
    ({ index }) => (index.entries[4]!.linkTarget = '/etc/passwd'),
    ({ index }) => (index.entries[2]!.xattrs = new Map([['user.x', Buffer.from('z')]])),
    ({ index }) => index.entries.splice(1, 1),
    ({ index }) => index.entries.splice(1, 0, index.entries[1]!),
    (content) => Object.assign(content, { blobBytes: 5 }),
  ];
  for (const each of change) {
    const index = await given(gzip, small);
    each(index.content);
    assert.notDeepEqual(await problemsOf(gzip, index, made), [], String(each));
  }
});

test('compareIndex finds content that is elsewhere, or another one, and windows that are wrong', async () => {
  for (const blob of [gzip, gunzipSync(gzip)]) {
    const { content: made } = await given(blob, {});
    const digest = await given(blob, small);
    digest.content.index.chunks.digest[40]! ^= 1;
    assert.match((await problemsOf(blob, digest, made)).join(), /chunk 1 is not what its digest says/);
    const elsewhere = await given(blob, small);
    elsewhere.content.index.chunks.innerOffset[0]!++;
    assert.match((await problemsOf(blob, elsewhere, made)).join(), /the content of "dir0\/large" is elsewhere/);
  }
  const { content: made } = await given(gzip, {});
  const window = await given(gzip, small);
  window.file[window.content.spans.windowOffset[1]! + 3]! ^= 1;
  assert.match(
    (await problemsOf(gzip, window, made)).join(),
    /cannot be read from place 1: .*the digest of a window does not match/,
  );
  const bits = await given(gzip, small);
  bits.content.spans.bits[2]! ^= 1;
  assert.notDeepEqual(await problemsOf(gzip, bits, made), []);
});

test('compareIndex finds holes that are elsewhere, and chunks that end too early', async () => {
  const { content: made } = await given(gzip, {});
  const holes = await given(gzip, small);
  holes.content.index.chunks.hole[1] = 1;
  assert.match((await problemsOf(gzip, holes, made)).join(), /the content of "dir0\/large" is elsewhere/);
  const ends = await given(gzip, small);
  const { streamEnd, streamOffset } = ends.content.index.chunks;
  streamEnd[3] = streamOffset[3]! + 10;
  assert.deepEqual(await problemsOf(gzip, ends, made), ['chunk 3 needs more of the layer than it says']);
});

test('compareIndex says ten things at most, and throws what the registry says', async () => {
  const { content: made } = await given(gzip, {});
  const index = await given(gzip, small);
  index.content.index.chunks.digest.fill(0);
  assert.equal((await problemsOf(gzip, index, made)).length, 10);
  await assert.rejects(
    (async () => {
      await using registry = await startRegistry();
      await using client = quickClient();
      const digest = `sha256:${'0'.repeat(64)}`;
      return await compareIndex(index, made, client.blob(parseReference(`${registry.host}/a`), digest));
    })(),
    { code: 'NotFound' },
  );
});
