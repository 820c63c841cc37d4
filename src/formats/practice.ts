import { hash, randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { chunkTable } from '../chunks/chunk-table.ts';
import { type Digest, sha256 } from '../chunks/digest.ts';
import type { LayerId } from '../chunks/layer-id.ts';
import { estargz } from './estargz/format.ts';
import { syntheticLayer } from './estargz/synthetic-layer.ts';
import { syntheticToc } from './estargz/synthetic-toc.ts';
import type { LayerFormat, PackedRun, RawIndex, WantedIndex } from './layer-format.ts';
import { encodeFileHeader, paddingOf } from './tar/header.ts';

/** A synthetic layer, and what a client knows about it. */
export interface PracticeLayer {
  readonly bytes: Buffer;
  readonly id: LayerId;
  readonly format: LayerFormat;
  /** Paths of its files. */
  readonly paths: readonly string[];
}

/** What is practised with: a layer that is served, and the digest of one that is pulled. */
export interface Practice {
  readonly layer: PracticeLayer;
  readonly tar: Digest;
}

/**
 * A synthetic layer of some MB that equals no other one. It takes some turns of the event loop; `signal` ends it, then
 * it rejects.
 */
export async function practiceLayer(signal?: AbortSignal): Promise<PracticeLayer> {
  return { ...(await syntheticLayer(signal)), format: estargz };
}

const tarFiles = 192;
const tarFileBytes = 9_000;

/**
 * A gzip layer of some MB that has no index and that no other one equals. It takes some turns of the event loop;
 * `signal` ends it, then it rejects.
 */
export async function practiceTar(signal?: AbortSignal): Promise<{ bytes: Buffer; digest: Digest }> {
  const parts: Buffer[] = [];
  for (let i = 0; i < tarFiles; i++) {
    const content = i % 8 === 0 ? Buffer.alloc(tarFileBytes, `file ${i}`) : randomBytes(tarFileBytes);
    const header = encodeFileHeader(`d${i % 16}/f${i}`, content.length, '0');
    parts.push(header, content, Buffer.alloc(paddingOf(content.length)));
  }
  await setImmediate();
  signal?.throwIfAborted();
  const bytes = gzipSync(Buffer.concat([...parts, Buffer.alloc(1024)]), { level: 1 });
  return { bytes, digest: sha256(bytes) };
}

/** An index with an example of everything in indexes of real layers. */
export function practiceIndex(): { format: LayerFormat; raw: RawIndex; wanted: WantedIndex } {
  return { format: estargz, ...syntheticToc() };
}

const chunks = 400;
const chunkBytes = 10_000;

/** Packed chunks, all of them with the same content. */
export function practiceRun(): PackedRun & { readonly format: LayerFormat } {
  const content = Buffer.alloc(chunkBytes, 'what a file may hold, ');
  const stream = gzipSync(content);
  const table = chunkTable(undefined, chunks);
  for (let chunk = 0; chunk < chunks; chunk++) {
    table.size[chunk] = chunkBytes;
    table.streamOffset[chunk] = chunk * stream.length;
    table.streamEnd[chunk] = (chunk + 1) * stream.length;
    table.digest.set(hash('sha256', content, 'buffer'), chunk * 32);
  }
  const bytes = Buffer.concat(Array.from({ length: chunks }, () => stream));
  return { format: estargz, table, chunks: { first: 0, last: chunks }, bytes, blobOffset: 0 };
}
