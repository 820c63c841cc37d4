import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { chunkTable } from '../../chunks/chunk-table.ts';
import { planLayer } from '../plan/layer-plan.ts';
import { syntheticToc } from '../warm-up/synthetic-toc.ts';
import { unpackChunks } from './unpack.ts';

/** Enough for the engine to compile what is called for every file; a round takes some tens of milliseconds. */
const rounds = 6;

const chunks = 400;
const chunkBytes = 10_000;

/**
 * Plans a made-up layer a few times and throws it away. JavaScript runs several times faster once the engine has seen it run; without this
 * the first layer, which a build waits for, would be what it learns from.
 *
 * @param goesOn asked before each round: false to leave it at that
 */
export async function rehearsePlanning(goesOn: () => boolean): Promise<void> {
  const source = syntheticToc();
  for (let round = 0; round < rounds && goesOn(); round++) {
    planLayer(source);
    await setImmediate();
  }
}

/**
 * Inflates and verifies a made-up file a few times, for the same reason.
 *
 * @param goesOn asked after each time: false to leave it at that
 */
export async function rehearseUnpacking(goesOn: () => boolean): Promise<void> {
  const content = Buffer.alloc(chunkBytes, 'what a file may hold, ');
  const stream = gzipSync(content);
  const table = chunkTable(undefined, chunks);
  for (let row = 0; row < chunks; row++) {
    table.size[row] = chunkBytes;
    table.streamOffset[row] = row * stream.length;
    table.streamEnd[row] = (row + 1) * stream.length;
    table.digest.set(hash('sha256', content, 'buffer'), row * 32);
  }
  const blob = Buffer.concat(Array.from({ length: chunks }, () => stream));
  for await (const unpacked of unpackChunks(table, { first: 0, last: chunks }, blob, 0)) {
    if ('error' in unpacked) throw unpacked.error;
    if (!goesOn()) return;
  }
}
