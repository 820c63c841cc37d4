import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseConfig, parseIndex, parseManifest } from '../../../src/images/manifest.ts';
import { loadedBytes, neededLibraries, readElf } from '../../../src/layers/prefetch/elf.ts';
import { readFooter } from '../../../src/formats/estargz/footer.ts';
import { footer, legacyFooter } from '../../support/estargz-blob.ts';
import type { Subject } from '../subject.ts';

const digest = `sha256:${'ab'.repeat(32)}`;
const descriptor = fc.record(
  {
    mediaType: fc.constantFrom(
      'application/vnd.oci.image.layer.v1.tar+gzip',
      'application/vnd.oci.image.config.v1+json',
    ),
    digest: fc.constant(digest),
    size: fc.nat(),
    annotations: fc.constantFrom({}, { a: 'b' }, null),
    platform: fc.constantFrom({ os: 'linux', architecture: 'amd64' }, null),
  },
  { requiredKeys: ['digest'] },
);
const list = fc.option(fc.array(descriptor, { maxLength: 3 }));
const document = fc.oneof(
  fc.record({ schemaVersion: fc.constant(2), config: descriptor, layers: list }),
  fc.record({ schemaVersion: fc.constant(2), manifests: list }),
  fc.record({
    os: fc.constantFrom('linux', null),
    rootfs: fc.record({ diff_ids: fc.constantFrom(null, [], [digest]) }),
  }),
);

const documents: Subject = {
  name: 'manifests',
  weight: 60,
  inputs: document.map((value) => Buffer.from(JSON.stringify(value))),
  tokens: ['{', '}', '[', ']', '"', ',', ':', 'null', '{}', '[]', '""', '"__proto__":', '"digest":'],
  run(input, random) {
    const parse = random.pick([parseManifest, parseIndex, (bytes: Buffer) => parseConfig(bytes, 1)]);
    parse(input);
  },
};

const footers: Subject = {
  name: 'footer',
  weight: 100,
  inputs: fc
    .oneof(fc.nat(1000), fc.maxSafeNat())
    .chain((offset) => fc.constantFrom(footer(offset), legacyFooter(offset))),
  tokens: ['STARGZ', 'STARGZEXTERNALTOC', 'GNUlInUx', 'ffffffffffffffff', '\x1f\x8b'],
  run(input, random) {
    const blobBytes = random.pick([input.length, input.length + random.below(1000), Number.MAX_SAFE_INTEGER]);
    const { tocOffset, tocEnd } = readFooter(input, blobBytes);
    assert.ok(Number.isSafeInteger(tocOffset) && tocOffset >= 0 && tocOffset < tocEnd && tocEnd <= blobBytes);
  },
};

const programs: Subject = {
  name: 'ELF',
  weight: 30,
  inputs: fc.array(fc.constantFrom('libc.so.6', 'libm.so.6', 'x'), { maxLength: 3 }).map(elf),
  tokens: ['\x7fELF', '\0\0\0\0', '\xff\xff\xff\xff\xff\xff\xff\xff', '\x01\0\0\0\0\0\0\0'],
  async run(input) {
    let asked = 0;
    const read = (offset: number, size: number): Promise<Buffer> => {
      asked += size;
      assert.ok(Number.isSafeInteger(size) && size >= 0 && offset >= 0);
      return Promise.resolve(input.subarray(offset, offset + size));
    };
    const segments = await readElf(read);
    if (segments === undefined) return;
    const libraries = await neededLibraries(read, segments);
    const bytes = loadedBytes(segments);
    assert.ok(asked < 1e6 && libraries.length <= 257 && Number.isSafeInteger(bytes) && bytes >= 0);
  },
};

/** A program that needs the libraries: one segment that is the whole file, and the dynamic section in it. */
function elf(libraries: readonly string[]): Buffer {
  const bytes = Buffer.alloc(1024);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(2, 56);
  for (const [i, [type, offset]] of [
    [1, 0],
    [2, 256],
  ].entries()) {
    bytes.writeUInt32LE(type!, 64 + i * 56);
    bytes.writeBigUInt64LE(BigInt(offset!), 64 + i * 56 + 8);
    bytes.writeBigUInt64LE(BigInt(offset!), 64 + i * 56 + 16);
    bytes.writeBigUInt64LE(512n, 64 + i * 56 + 32);
  }
  let at = 256;
  const entry = (tag: number, value: number) => {
    bytes.writeBigUInt64LE(BigInt(tag), at);
    bytes.writeBigUInt64LE(BigInt(value), at + 8);
    at += 16;
  };
  entry(5, 400);
  for (const [i, library] of libraries.entries()) {
    entry(1, i * 20);
    bytes.write(library, 400 + i * 20);
  }
  return bytes;
}

export const images: readonly Subject[] = [documents, footers, programs];
