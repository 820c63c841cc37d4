import { LazypullError } from '../errors.ts';
import { encodeFileHeader, paddingOf } from '../formats/tar/header.ts';
import { TarReader } from '../formats/tar/reader.ts';
import { encodeArtifact, type IndexArtifact, parseArtifact, tagOfLayer } from './artifact.ts';

/** An index and its bytes. */
export interface BundledIndex {
  readonly index: IndexArtifact;
  /** It must be read to its end, or not at all, before the next one is taken. */
  readonly content: AsyncIterable<Uint8Array>;
}

/** The manifest of an index has less than 1 KiB. */
const maxManifestBytes = 64 * 1024;

/** No machine has more indexes. */
const maxIndexes = 100_000;

/** Larger files do not fit into the header of a tar entry. */
const maxEntryBytes = 8 ** 11 - 1;

const pieceBytes = 1 << 20;

const suffixes = { manifest: '.json', content: '.index' } as const;

/**
 * One file for many indexes: a tar with two entries for each, `sha256-<hex of the layer>.json`, which is its manifest
 * as in a registry, and `….index`, which is the index. The same indexes give the same bytes.
 *
 * @throws InvalidArgument for an index that is too large
 */
export async function* writeBundle(indexes: AsyncIterable<BundledIndex>): AsyncGenerator<Uint8Array> {
  for await (const { index, content } of indexes) {
    if (index.size > maxEntryBytes) {
      throw new LazypullError(
        'InvalidArgument',
        `Cannot export the index of ${index.layer}: it has ${index.size} bytes`,
      );
    }
    const name = tagOfLayer(index.layer);
    const manifest = encodeArtifact(index);
    yield encodeFileHeader(name + suffixes.manifest, manifest.length);
    yield manifest;
    yield Buffer.alloc(paddingOf(manifest.length));
    yield encodeFileHeader(name + suffixes.content, index.size);
    yield* content;
    yield Buffer.alloc(paddingOf(index.size));
  }
  yield Buffer.alloc(endBytes);
}

/** Two blocks of zeros end a tar. */
const endBytes = 1024;

/**
 * The indexes of a bundle, one after another.
 *
 * @throws DataLoss if the file is truncated or damaged; FailedPrecondition if `writeBundle` has not made it. Indexes
 * are not compared with their digests
 */
export async function* readBundle(source: AsyncIterable<Buffer>): AsyncGenerator<BundledIndex> {
  const reader = new TarReader(source);
  try {
    let count = 0;
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      if (++count > maxIndexes) throw foreign(`it has more than ${maxIndexes} indexes`);
      const layer = layerOf(entry.path, suffixes.manifest);
      if (layer === undefined || entry.size > maxManifestBytes)
        throw foreign(`it has an entry ${JSON.stringify(entry.path.slice(0, 100))}`);
      const index = parseArtifact(Buffer.concat(await Array.fromAsync(payload(reader))), layer);
      const next = await reader.next();
      if (next === undefined || layerOf(next.path, suffixes.content) !== layer || next.size !== index.size) {
        throw new LazypullError('DataLoss', `Cannot read the bundle of layer indexes: that of ${layer} is missing`);
      }
      yield { index, content: payload(reader) };
    }
  } finally {
    await reader.close();
  }
}

async function* payload(reader: TarReader): AsyncGenerator<Buffer> {
  for (let data = await reader.readPayload(pieceBytes); data.length > 0; data = await reader.readPayload(pieceBytes)) {
    yield data;
  }
}

function layerOf(path: string, suffix: string): string | undefined {
  const hex = /^sha256-([0-9a-f]{64})(\.[a-z]+)$/.exec(path);
  return hex?.[2] === suffix ? `sha256:${hex[1]}` : undefined;
}

function foreign(what: string): LazypullError {
  return new LazypullError('FailedPrecondition', `This is not a bundle of layer indexes: ${what}`, {
    hint: 'give a file that "lazypull index export" or "lazypull index --output" wrote',
  });
}
