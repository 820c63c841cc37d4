import { parentPort, workerData } from 'node:worker_threads';
import { gzipSync } from 'node:zlib';
import type { EndCommand } from '../util/end-worker.ts';
import type { MemberBatch } from './gzip-pool.ts';

const { level } = workerData as { level: number };

parentPort?.on('message', (command: MemberBatch | EndCommand) => {
  if ('kind' in command) parentPort?.close();
  else compress(command);
});

function compress(batch: MemberBatch): void {
  const members: Buffer[] = [];
  const ends: number[] = [];
  let start = 0;
  let bytes = 0;
  for (const end of batch.ends) {
    const member = gzipMember(batch.data.subarray(start, end));
    members.push(member);
    bytes += member.length;
    ends.push(bytes);
    start = end;
  }
  const data = new Uint8Array(bytes);
  members.reduce((position, member) => {
    data.set(member, position);
    return position + member.length;
  }, 0);
  parentPort?.postMessage({ data, ends } satisfies MemberBatch, [data.buffer]);
}

/**
 * Window, hash table and output buffer are no larger than the data needs. Most members are small files, and making the
 * tables takes most of their time.
 */
function gzipMember(data: Uint8Array): Buffer {
  const windowBits = Math.min(15, Math.max(9, 32 - Math.clz32(data.length - 1)));
  const chunkSize = data.length + (data.length >> 10) + gzipOverheadBytes;
  return gzipSync(data, { level, windowBits, memLevel: Math.min(8, windowBits - 6), chunkSize });
}

/** Header, trailer and the marks of a stored block, with room to spare. */
const gzipOverheadBytes = 256;
