import { nothingFetched, type LayerUse } from '../../src/layers/uses/layer-use.ts';
import { stripOf } from '../../src/layers/uses/read-strip.ts';

/** A use of a layer of 100 kB of which the first half is here and a tenth was read; `parts` replaces some of it. */
export function aUse(parts: Partial<LayerUse> = {}): LayerUse {
  const size = new Float64Array(100).fill(1000);
  const read = new Uint8Array(100).fill(20, 10, 20);
  const resident = new Uint8Array(100).fill(1, 0, 50);
  return {
    digest: `sha256:${'a1'.repeat(32)}`,
    references: ['registry.example/app:1'],
    startedMs: 1_700_000_000_000,
    endedMs: undefined,
    how: 'toc',
    howText: 'by its table of contents',
    blobBytes: 40_000,
    contentBytes: 100_000,
    presentBytes: 50_000,
    fetched: { ...nothingFetched, demand: 15_000, prefetch: 5000, index: 1000 },
    waits: 7,
    waitedMs: 850.5,
    longestWaitMs: 200.25,
    errors: 0,
    isLeft: false,
    isWhole: false,
    ...stripOf({ length: 100, size }, read, resident),
    ...parts,
  };
}
