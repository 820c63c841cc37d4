import { hash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { chunkTable } from '../chunks/chunk-table.ts';
import type { LayerId } from '../chunks/layer-id.ts';
import { estargz } from './estargz/format.ts';
import { syntheticLayer } from './estargz/synthetic-layer.ts';
import { syntheticToc } from './estargz/synthetic-toc.ts';
import type { LayerFormat, PackedRun, RawIndex, WantedIndex } from './layer-format.ts';

/** A layer that was made up, and what a client knows of it. */
export interface PracticeLayer {
  readonly bytes: Buffer;
  readonly id: LayerId;
  readonly format: LayerFormat;
  /** Paths of its files. */
  readonly paths: readonly string[];
}

/** A layer of some MB that no other one equals. It takes some turns of the event loop; `signal` ends it, then it rejects. */
export async function practiceLayer(signal?: AbortSignal): Promise<PracticeLayer> {
  return { ...(await syntheticLayer(signal)), format: estargz };
}

/** An index with something of all that is found in indexes of real layers. */
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
