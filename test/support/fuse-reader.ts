import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import koffi from 'koffi';
import { inHeaderBytes, opcodes } from '../../src/fuse/abi.ts';

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;

/** A thread that takes longer has died. */
const answerSeconds = 20n;
const lastUnique = 0x7fff_ffffn;

/** A request as the kernel writes it. `length` is what it says of itself. */
export function fuseRequest(opcode: number, nodeId: number, body: Uint8Array, unique = 1n, length?: number): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(inHeaderBytes), body]);
  bytes.writeUInt32LE(length ?? bytes.length, 0);
  bytes.writeUInt32LE(opcode, 4);
  bytes.writeBigUInt64LE(unique, 8);
  bytes.writeBigUInt64LE(BigInt(nodeId), 16);
  return bytes;
}

/**
 * The thread that reads /dev/fuse, on a socket that keeps the bounds of messages as that does. It serves one file,
 * `file`, which is all there.
 */
export class FuseReader {
  static readonly nodeId = 7;
  static readonly fileBytes = 8192;
  readonly #worker: Worker;
  readonly #ours: number;
  readonly #reply = Buffer.alloc(2 << 20);

  /** @param directory where the file is made */
  constructor(directory: string) {
    const pair = Buffer.alloc(8);
    const libc = koffi.load('libc.so.6');
    const socketpair = libc.func('int socketpair(int domain, int type, int protocol, void *pair)');
    assert.equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    this.#ours = pair.readInt32LE(0);
    const timeout = Buffer.alloc(16); // struct timeval
    timeout.writeBigInt64LE(answerSeconds);
    const setsockopt = libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)');
    assert.equal(setsockopt(this.#ours, SOL_SOCKET, SO_RCVTIMEO, timeout, timeout.length), 0);
    this.#worker = new Worker(new URL('../../src/fuse/reader-worker.ts', import.meta.url), {
      workerData: { fd: pair.readInt32LE(4), name: 'lazypull-0', reads: new BigInt64Array(new SharedArrayBuffer(64)) },
    });
    const path = join(directory, 'file');
    writeFileSync(path, Buffer.alloc(FuseReader.fileBytes));
    this.add(FuseReader.nodeId, path);
  }

  /** Has it serve a file, all of which is at `path`. */
  add(nodeId: number, path: string): void {
    const shared = () => new SharedArrayBuffer(8);
    const file = {
      nodeId,
      name: basename(path),
      bytes: FuseReader.fileBytes,
      path,
      rangeOffset: new Float64Array(shared()),
      rangeBytes: new Float64Array(shared()).fill(FuseReader.fileBytes),
      resident: new Uint8Array(shared(), 0, 1).fill(1),
      read: new Uint8Array(shared(), 0, 1),
      readFromMs: 0,
    };
    this.#worker.postMessage({ kind: 'add', file });
  }

  /** Sends a request, and another that is always answered. @returns the answers before that one's */
  ask(request: Buffer): { unique: bigint; errno: number }[] {
    const answers: { unique: bigint; errno: number }[] = [];
    if (request.length > 0) writeSync(this.#ours, request);
    writeSync(this.#ours, fuseRequest(opcodes.statfs, 1, Buffer.alloc(0), lastUnique));
    for (;;) {
      const length = readSync(this.#ours, this.#reply, 0, this.#reply.length, null);
      assert.ok(length >= 16 && this.#reply.readUInt32LE(0) === length);
      const unique = this.#reply.readBigUInt64LE(8);
      if (unique === lastUnique) return answers;
      answers.push({ unique, errno: Math.abs(this.#reply.readInt32LE(4)) });
    }
  }

  async close(): Promise<void> {
    const ended = once(this.#worker, 'exit');
    closeSync(this.#ours);
    await ended;
  }
}
