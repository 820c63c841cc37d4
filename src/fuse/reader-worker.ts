/**
 * The thread that reads /dev/fuse. It answers everything that needs no fetching by itself, with blocking system calls,
 * and hands the rest to the main thread. New files arrive at its port, which it empties before each request.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { errnoOf } from '../errors.ts';
import { hasLostWrites } from '../kernel/writeback.ts';
import { BufferPressure } from '../util/buffer-pressure.ts';
import {
  attributesReply,
  entryReply,
  errnos,
  errorReply,
  inHeaderBytes,
  initReply,
  initVersionReply,
  leastBodyBytes,
  maxReadBytes,
  opcodes,
  openReply,
  outHeaderBytes,
  protocolMajor,
  type RequestHeader,
  readInit,
  readLookupName,
  readReadRequest,
  readRequestHeader,
  requestBytes,
  rootNodeId,
  statfsReply,
  writeOutHeader,
} from './abi.ts';
import { nameOn } from './connection-name.ts';
import { type FlatFile, noteLost, noteRead, noteUnreadable, type RestingFile, rangesIn } from './flat-file.ts';
import { outcomes } from './metrics.ts';

/** Commands of the main thread. A file that is added again replaces the one with its node id. */
export type ReaderCommand = { kind: 'add'; file: FlatFile | RestingFile } | { kind: 'remove'; nodeId: number };

/** A read that has to wait for bytes, or of a file that is idle or not known here. The main thread answers it. */
export interface Miss {
  unique: bigint;
  nodeId: number;
  offset: number;
  size: number;
}

/**
 * The kernel failed to write to a local file. What was written may be lost, and from then on even bytes outside of all
 * ranges may be.
 */
export interface Loss {
  lost: number;
}

type OpenFile = (FlatFile | RestingFile) & { readonly fd: number; hasLost: boolean };

const port = parentPort;
if (port === null) throw new Error('Cannot run outside a worker thread');
const { fd: fuse, name: connection, reads } = workerData as { fd: number; name: string; reads: BigInt64Array };
const prefix = nameOn(connection, '');
const byNodeId = new Map<number, OpenFile>();
const byName = new Map<string, OpenFile>();
const pressure = new BufferPressure();
const request = Buffer.alloc(requestBytes);
const reply = Buffer.alloc(outHeaderBytes + maxReadBytes);

for (;;) {
  const length = receive();
  if (length < 0) break;
  takeCommands();
  const answer = length < inHeaderBytes ? undefined : answerTo(readRequestHeader(request), length);
  if (answer !== undefined) send(answer);
}
for (const file of byNodeId.values()) closeSync(file.fd);
port.close();

function receive(): number {
  for (;;) {
    try {
      const length = readSync(fuse, request, 0, request.length, null);
      return length === 0 ? -1 : length;
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'ENODEV') return -1; // unmounted
      if (code !== 'ENOENT' && code !== 'EINTR' && code !== 'EAGAIN') throw error;
    }
  }
}

function send(answer: Buffer): void {
  try {
    writeSync(fuse, answer);
  } catch (error) {
    const code = errnoOf(error);
    // The caller gave the request up, or the file system is gone.
    if (code !== 'ENOENT' && code !== 'ENODEV') throw error;
  }
}

function takeCommands(): void {
  for (;;) {
    const received = receiveMessageOnPort(port!) as { message: ReaderCommand } | undefined;
    if (received === undefined) return;
    const command = received.message;
    if (command.kind === 'add') {
      const before = byNodeId.get(command.file.nodeId);
      const fd = before?.fd ?? tryOpen(command.file.path);
      if (fd === undefined) continue;
      const file: OpenFile = { ...command.file, fd, hasLost: before?.hasLost ?? false };
      byNodeId.set(file.nodeId, file);
      byName.set(file.name, file);
      if (before !== undefined) release(before);
    } else {
      const file = byNodeId.get(command.nodeId);
      if (file === undefined) continue;
      closeSync(file.fd);
      byNodeId.delete(file.nodeId);
      byName.delete(file.name);
      release(file);
    }
  }
}

/**
 * Commands wait until a request comes, so a file can be gone before it is added. Then the next command removes it
 * again. If it cannot be opened for another reason, the main thread answers for it, because it could open it.
 */
function tryOpen(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch {
    return undefined;
  }
}

/** The memory of a file's ranges is shared: it is free once no thread has an uncollected view of it. */
function release(file: OpenFile): void {
  if ('rangeOffset' in file) pressure.released(file.rangeOffset.buffer.byteLength);
}

function answerTo(header: RequestHeader, length: number): Buffer | undefined {
  const { unique, nodeId } = header;
  if (header.length !== length || length < inHeaderBytes + leastBodyBytes(header.opcode)) {
    return errorReply(unique, errnos.EINVAL);
  }
  const file = byNodeId.get(nodeId);
  switch (header.opcode) {
    case opcodes.read:
      if (file !== undefined) return read(file, unique);
      pass(unique, nodeId, readReadRequest(request));
      return undefined;
    case opcodes.lookup: {
      const found = nodeId === rootNodeId ? named(readLookupName(request, length)) : undefined;
      return found === undefined ? errorReply(unique, errnos.ENOENT) : entryReply(unique, found.nodeId, found.bytes);
    }
    case opcodes.getattr:
      if (nodeId !== rootNodeId && file === undefined) return errorReply(unique, errnos.EIO);
      return attributesReply(unique, nodeId, file?.bytes);
    case opcodes.open:
      return file === undefined ? errorReply(unique, errnos.EIO) : openReply(unique);
    case opcodes.init: {
      const offered = readInit(request);
      if (offered.major < protocolMajor) return errorReply(unique, errnos.EINVAL);
      return offered.major > protocolMajor ? initVersionReply(unique) : initReply(unique, offered);
    }
    case opcodes.statfs:
      return statfsReply(unique);
    case opcodes.readdir: // an empty list, so that `du` and `find` of the root directory go on
    case opcodes.release:
    case opcodes.releasedir:
    case opcodes.flush:
    case opcodes.destroy:
      return errorReply(unique, 0);
    case opcodes.forget:
    case opcodes.batchForget:
      return undefined;
    default:
      return errorReply(unique, errnos.ENOSYS);
  }
}

/** The file with a name, or the one that is mounted by it. */
function named(name: string): OpenFile | undefined {
  return byName.get(name.startsWith(prefix) ? name.slice(prefix.length) : name);
}

function pass(unique: bigint, nodeId: number, { offset, size }: { offset: number; size: number }): void {
  port!.postMessage({ unique, nodeId, offset, size } satisfies Miss);
}

function read(file: OpenFile, unique: bigint): Buffer | undefined {
  const { offset, size } = readReadRequest(request);
  const wanted = Math.max(0, Math.min(size, maxReadBytes, file.bytes - offset));
  const rests = 'dataOffset' in file;
  const isHere = rests ? offset + wanted <= file.dataOffset : noteRead(file, offset, wanted);
  const isRead = isHere && readWhole(file, offset, wanted);
  if (isRead && !hasLost(file) && !(file.hasLost && isOutside(file, offset))) {
    Atomics.add(reads, outcomes.indexOf('hit'), 1n);
    return writeOutHeader(reply.subarray(0, outHeaderBytes + wanted), outHeaderBytes + wanted, unique, 0);
  }
  if (isHere && !isRead) {
    if (rests) return failed(unique);
    const { first, last } = rangesIn(file, offset, wanted);
    if (first === last) return failed(unique); // no range that could be fetched
    noteUnreadable(file, offset, wanted);
  }
  pass(unique, file.nodeId, { offset, size: wanted });
  return undefined;
}

/**
 * Whether the local file has lost something since the last check. It is checked after a read: what was lost before that
 * read was not in it.
 */
function hasLost(file: OpenFile): boolean {
  if (!hasLostWrites(file.fd)) return false;
  file.hasLost = true;
  if ('resident' in file) noteLost(file);
  port!.postMessage({ lost: file.nodeId } satisfies Loss);
  return true;
}

/** Whether the byte at an offset is in none of the ranges. */
function isOutside(file: OpenFile, offset: number): boolean {
  if ('dataOffset' in file) return true;
  const { first, last } = rangesIn(file, offset, 1);
  return first === last;
}

/** Fills the reply's body. @returns false when the disk fails, or the local file is shorter than it must be */
function readWhole(file: OpenFile, offset: number, size: number): boolean {
  try {
    for (let got = 0; got < size; ) {
      const n = readSync(file.fd, reply, outHeaderBytes + got, size - got, offset + got);
      if (n === 0) return false;
      got += n;
    }
    return true;
  } catch {
    return false;
  }
}

function failed(unique: bigint): Buffer {
  Atomics.add(reads, outcomes.indexOf('error'), 1n);
  return errorReply(unique, errnos.EIO);
}
