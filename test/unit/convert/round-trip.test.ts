import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, test } from 'node:test';
import { constants, gunzipSync } from 'node:zlib';
import { writeEstargz } from '../../../src/convert/estargz-writer.ts';
import { GzipPool } from '../../../src/convert/gzip-pool.ts';
import { TarReader } from '../../../src/formats/tar/reader.ts';
import { readToc } from '../../../src/formats/estargz/toc.ts';
import { buildTar, inPieces, type TarSpec } from '../../support/tar-builder.ts';
import fc from '../../support/properties.ts';

const pool = new GzipPool(1, 2);
after(() => pool[Symbol.asyncDispose]());

const bytes = (maxLength: number) =>
  fc.uint8Array({ minLength: 1, maxLength }).map((data) => Buffer.from(data).toString('latin1').replaceAll('\0', 'x'));
const name = bytes(150).map((text) => `${text.replace(/\/+$/, '')}x`);

const common = {
  name,
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
  gid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
  mtime: fc.integer({ min: -1e11, max: 1e11 }).map((tenths) => tenths / 10),
  pax: fc
    .dictionary(fc.stringMatching(/^[a-z.]{1,20}$/), fc.uint8Array({ maxLength: 30 }), { maxKeys: 3 })
    .map((xattrs) =>
      Object.fromEntries(
        Object.entries(xattrs).map(([key, value]) => [
          `SCHILY.xattr.user.${key}`,
          Buffer.from(value).toString('latin1'),
        ]),
      ),
    ),
};
const link = bytes(150);
const spec: fc.Arbitrary<TarSpec> = fc.oneof(
  fc.record({ ...common, data: fc.uint8Array({ maxLength: 4000 }).map((data) => Buffer.from(data)) }),
  fc.record({ ...common, typeflag: fc.constant('5') }),
  fc.record({ ...common, typeflag: fc.constantFrom('1', '2'), linkName: link }),
  fc.record({
    ...common,
    typeflag: fc.constantFrom('3', '4'),
    devMajor: fc.integer({ min: 0, max: 4095 }),
    devMinor: fc.integer({ min: 0, max: 2 ** 20 - 1 }),
  }),
  fc.record({ ...common, typeflag: fc.constant('6') }),
);

test('writeEstargz writes what its reader finds: in the TOC what the tar has, and in the blob the content', async () => {
  const tree = fc.uniqueArray(spec, { selector: (entry) => entry.name.replace(/[./]/g, ''), maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(tree, fc.integer({ min: 50, max: 5000 }), async (specs, chunkBytes) => {
      const tar = buildTar(specs);
      const parts: Uint8Array[] = [];
      const sink = (data: Uint8Array): Promise<void> => {
        parts.push(data);
        return Promise.resolve();
      };
      const { tocDigest } = await writeEstargz(inPieces(tar), sink, { pool, chunkBytes });
      const blob = Buffer.concat(parts);
      const tocOffset = parseInt(blob.toString('latin1', blob.length - 35, blob.length - 19), 16);
      const { entries, chunks } = readToc(blob.subarray(tocOffset), { tocDigest, tocOffset, blobSize: blob.length });

      const reader = new TarReader(inPieces(tar));
      assert.equal(entries.length, specs.length);
      for (const [i, { firstChunk, chunkCount, ...entry }] of entries.entries()) {
        const {
          headers: _,
          globalHeaders: __,
          userName: ___,
          groupName: ____,
          ...expected
        } = (await reader.next()) ?? assert.fail();
        assert.deepEqual({ ...entry, xattrs: plain(entry.xattrs) }, { ...expected, xattrs: plain(expected.xattrs) });
        const content: Buffer[] = [];
        for (let row = firstChunk; row < firstChunk + chunkCount; row++) {
          const size = chunks.size[row] ?? 0;
          const stream = blob.subarray(chunks.streamOffset[row], chunks.streamEnd[row]);
          const chunk = gunzipSync(stream, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, size);
          assert.deepEqual(
            createHash('sha256').update(chunk).digest(),
            Buffer.from(chunks.digest.subarray(row * 32, row * 32 + 32)),
          );
          content.push(chunk);
        }
        assert.deepEqual(Buffer.concat(content), specs[i]?.data ?? Buffer.alloc(0));
      }
    }),
    { numRuns: 100 },
  );
});

function plain(xattrs: ReadonlyMap<string, Uint8Array> | undefined): Map<string, string> {
  return new Map([...(xattrs ?? [])].map(([key, value]) => [key, Buffer.from(value).toString('hex')]));
}
