import { setTimeout as delay } from 'node:timers/promises';

/**
 * Bytes of the buffers in use, once nothing is left of those that were dropped. V8 frees what a collection found on
 * another thread, some time after it. Needs `--expose-gc`.
 */
export async function settledBuffers(): Promise<number> {
  let bytes: number;
  do {
    globalThis.gc!();
    bytes = process.memoryUsage().arrayBuffers;
    await delay(100);
  } while (process.memoryUsage().arrayBuffers !== bytes);
  return bytes;
}
