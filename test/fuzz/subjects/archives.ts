import assert from 'node:assert/strict';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { decodePax, decodePaxNumber, decodePaxTime } from '../../../src/formats/tar/pax.ts';
import { TarReader } from '../../../src/formats/tar/reader.ts';
import { zstdFrames } from '../../../src/formats/zstd/frames.ts';
import { arbitraryLayer, tarOf } from '../../support/random-layer.ts';
import { buildTar, inPieces, metadataEntry, paxRecord, withChecksum } from '../../support/tar-builder.ts';
import type { Random } from '../random.ts';
import type { Subject } from '../subject.ts';

const keys = 'path linkpath size mtime uid SCHILY.xattr.user.a comment'
  .split(' ')
  .concat(['major', 'minor', 'size', 'numblocks', 'map', 'offset', 'numbytes'].map((key) => `GNU.sparse.${key}`));

const record = fc
  .tuple(
    fc.constantFrom(...keys),
    fc.oneof(
      fc.nat().map(String),
      fc.constantFrom('', 'a/b', '-1.5', '1.999999999999', '/', '0', '1', '2', '0,1', '0,1,5,2', '-1'),
      fc.string({ maxLength: 20 }),
    ),
  )
  .map(([key, value]) => paxRecord(key, value));
const records = fc.array(record, { maxLength: 6 }).map((list) => Buffer.concat(list));

const pax: Subject = {
  name: 'PAX',
  weight: 100,
  inputs: records,
  tokens: ['\n', '=', ' ', '12 path=abc\n', '\0'],
  run(input) {
    for (const [key, value] of decodePax(input, 0)) {
      assert.notEqual(key, '');
      assert.ok(Number.isSafeInteger(decodePaxNumber(value) ?? 0));
      const time = decodePaxTime(value);
      assert.ok(time === undefined || (time.nanoseconds >= 0 && time.nanoseconds < 1e9));
    }
  },
};

const small = arbitraryLayer().map((files) => tarOf(files.slice(0, 6)));
const metadata = fc
  .tuple(fc.constantFrom('x', 'g', 'L', 'K'), records)
  .map(([typeflag, data]) => Buffer.concat([metadataEntry(typeflag, data), buildTar([{ name: 'f' }])]));

/** Sparse files can be very large. */
const maxRead = 1 << 20;

const tar: Subject = {
  name: 'tar',
  weight: 40,
  inputs: fc.oneof(small, metadata),
  tokens: [
    'ustar\0',
    'ustar  \0',
    '\x80\0\0\0\0\0\0\0\0\0\x10\0',
    '00000000017',
    'x',
    'g',
    'L',
    'K',
    '5',
    '1',
    'S',
    'D',
    '1\n0\n5\n',
  ],
  async run(input, random) {
    const archive = random.below(8) === 0 ? input : withChecksums(input);
    const reader = new TarReader(inPieces(archive, 1 + random.below(3000)));
    let bytes = 0;
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      assert.ok(!entry.path.includes('\0') && !entry.linkTarget.includes('\0'));
      const isAsWritten = archive.includes(entry.headers);
      if (isAsWritten) bytes += entry.headers.length + entry.globalHeaders.length;
      if (random.below(2) === 0) continue;
      let read = 0;
      while (read < maxRead) {
        const part = await reader.readPayload(5000);
        if (part.length === 0) break;
        read += part.length;
      }
      assert.ok(read <= entry.size);
      if (isAsWritten) bytes += read;
    }
    assert.ok(bytes <= archive.length);
  },
};

/** Mends the checksums of what may be headers, so that a mutation is not found by them alone. */
function withChecksums(input: Buffer): Buffer {
  for (let at = 0; at + 512 <= input.length; at += 512) {
    const block = input.subarray(at, at + 512);
    if (block.toString('latin1', 257, 262) === 'ustar') withChecksum(block);
  }
  return input;
}

const zstd: Subject = {
  name: 'zstd frames',
  weight: 20,
  inputs: fc
    .array(fc.uint8Array({ maxLength: 300 }), { maxLength: 3 })
    .map((frames) => Buffer.concat(frames.map((frame) => zstdCompressSync(frame)))),
  tokens: ['\x28\xb5\x2f\xfd', '\x50\x2a\x4d\x18\0\0\0\0', '\x02\0\0a', '\xff\xff\xff'],
  async run(input, random: Random) {
    let bytes = 0;
    for await (const piece of zstdFrames(inPieces(input, 1 + random.below(500)))) bytes += piece.length;
    assert.ok(bytes <= input.length);
  },
};

export const archives: readonly Subject[] = [pax, tar, zstd];
