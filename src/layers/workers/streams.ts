import type { ChunkTable } from '../../chunks/chunk-table.ts';

/**
 * The blob bytes [start, end) that hold a chunk: from the start of its compressed stream to a bound that its content cannot exceed,
 * however incompressible. (A publisher's index may claim that a stream is longer than that: the rest is never fetched.)
 */
export function streamBytesNeeded(table: ChunkTable, chunk: number): { start: number; end: number } {
  const start = table.streamOffset[chunk]!;
  const output = table.innerOffset[chunk]! + table.size[chunk]!;
  return { start, end: Math.min(table.streamEnd[chunk]!, start + deflateBound(output)) };
}

/** More than any compressor needs for a gzip stream of `bytes` bytes, in bytes. */
function deflateBound(bytes: number): number {
  return bytes * 2 + (1 << 20);
}
