import assert from 'node:assert/strict';
import fc from 'fast-check';
import { encodeFileHeader, paddingOf } from '../../../src/formats/tar/header.ts';
import { sha256 } from '../../../src/chunks/digest.ts';
import {
  encodeArtifact,
  type IndexArtifact,
  inlineTailOf,
  parseArtifact,
  tagOfLayer,
} from '../../../src/indexes/artifact.ts';
import { readBundle } from '../../../src/indexes/bundle.ts';
import type { Subject } from '../subject.ts';

const layer = sha256('a layer');

/** An index that does not exist, and its bytes. */
const made = fc.uint8Array({ minLength: 1, maxLength: 900 }).map((content) => {
  const bytes = Buffer.from(content);
  const tail = { bytes: bytes.length, digest: sha256(bytes) };
  return { bytes, index: { layer, digest: tail.digest, size: bytes.length, tail } satisfies IndexArtifact };
});

const manifest: Subject = {
  name: 'layer index manifest',
  weight: 20,
  inputs: made.map(({ bytes, index }) => encodeArtifact(index, undefined, bytes)),
  tokens: ['{', '}', '[', ']', '"', ',', 'null', '-1', '1e99', '"__proto__":', '"vnd.lazypull.tail.bytes":', layer],
  run(input) {
    const index = parseArtifact(input, layer);
    assert.ok(index.layer === layer && index.size >= index.tail.bytes && index.tail.bytes > 0);
    const tail = inlineTailOf(input, index);
    assert.ok(tail === undefined || sha256(tail) === index.tail.digest);
  },
};

const bundle: Subject = {
  name: 'layer index bundle',
  weight: 10,
  inputs: fc.array(made, { minLength: 1, maxLength: 3 }).map(packed),
  tokens: ['sha256-', '.json', '.index', 'ustar\x0000', '0', '\0'],
  async run(input) {
    for await (const { index, content } of readBundle(once(input))) {
      let bytes = 0;
      for await (const piece of content) bytes += piece.length;
      assert.equal(bytes, index.size);
    }
  },
};

function packed(indexes: readonly { readonly bytes: Buffer; readonly index: IndexArtifact }[]): Buffer {
  const name = tagOfLayer(layer);
  const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc(paddingOf(bytes.length))]);
  const entry = (suffix: string, bytes: Buffer): Buffer =>
    Buffer.concat([encodeFileHeader(name + suffix, bytes.length), padded(bytes)]);
  const entries = indexes.map(({ bytes, index }) =>
    Buffer.concat([entry('.json', encodeArtifact(index)), entry('.index', bytes)]),
  );
  return Buffer.concat([...entries, Buffer.alloc(1024)]);
}

async function* once(input: Buffer): AsyncGenerator<Buffer> {
  yield input;
}

export const indexes: readonly Subject[] = [manifest, bundle];
