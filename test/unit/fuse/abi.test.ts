import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  attributesReply,
  entryReply,
  errnos,
  errorReply,
  inHeaderBytes,
  initReply,
  initVersionReply,
  leastBodyBytes,
  opcodes,
  openReply,
  outHeaderBytes,
  readInit,
  readLookupName,
  readReadRequest,
  readRequestHeader,
  resendNotification,
  rootNodeId,
  statfsReply,
} from '../../../src/fuse/abi.ts';

/** A request as the kernel writes it (linux/fuse.h, struct fuse_in_header). */
function request(opcode: number, unique: bigint, nodeId: number, body: Buffer): Buffer {
  const header = Buffer.alloc(inHeaderBytes);
  header.writeUInt32LE(inHeaderBytes + body.length, 0);
  header.writeUInt32LE(opcode, 4);
  header.writeBigUInt64LE(unique, 8);
  header.writeBigUInt64LE(BigInt(nodeId), 16);
  return Buffer.concat([header, body]);
}

/** Of every answer: its length, its errno, and which request it is for. */
function outHeader(reply: Buffer): [length: number, errno: number, unique: bigint] {
  return [reply.readUInt32LE(0), reply.readInt32LE(4), reply.readBigUInt64LE(8)];
}

test('readRequestHeader reads a unique of 64 bits and a node id that is a safe integer', () => {
  const resent = (1n << 63n) | 5n;
  const nodeId = Number.MAX_SAFE_INTEGER;
  const bytes = request(opcodes.getattr, resent, nodeId, Buffer.alloc(16));
  assert.deepEqual(readRequestHeader(bytes), { length: 56, opcode: opcodes.getattr, unique: resent, nodeId });
});

test('readReadRequest reads offsets beyond 4 GiB', () => {
  const body = Buffer.alloc(40);
  body.writeBigUInt64LE(2n ** 44n + 7n, 8);
  body.writeUInt32LE(1 << 20, 16);
  const bytes = request(opcodes.read, 1n, 2, body);
  assert.deepEqual(readReadRequest(bytes), { offset: 2 ** 44 + 7, size: 1 << 20 });
  assert.equal(leastBodyBytes(opcodes.read), 20);
});

test('readLookupName reads bytes up to the zero, or to the end of the request', () => {
  const named = request(opcodes.lookup, 1n, rootNodeId, Buffer.from('b\xe4r\0rest', 'latin1'));
  assert.equal(readLookupName(named, named.length), 'b\xe4r');
  const endless = request(opcodes.lookup, 1n, rootNodeId, Buffer.from('name and what was there before\0'));
  assert.equal(readLookupName(endless, inHeaderBytes + 4), 'name');
});

test('initReply takes of what the kernel offers what is wanted, and its minor version if that is lower', () => {
  const body = Buffer.alloc(16);
  for (const [i, value] of [7, 31, 131_072, 0xffff_ffff].entries()) body.writeUInt32LE(value, 4 * i);
  const offered = readInit(request(opcodes.init, 3n, 0, body));
  assert.deepEqual(offered, { major: 7, minor: 31, maxReadAhead: 131_072, flags: 0xffff_ffff });
  const reply = initReply(3n, offered);
  assert.deepEqual(outHeader(reply), [80, 0, 3n]);
  assert.deepEqual([reply.readUInt32LE(16), reply.readUInt32LE(20), reply.readUInt16LE(44)], [7, 31, 256]);
  const flags = reply.readUInt32LE(28);
  assert.ok(flags > 0 && (flags & ~0xffff_ffff) === 0);
  assert.equal(initReply(3n, { ...offered, flags: 0 }).readUInt32LE(28), 0);
  assert.equal(initReply(3n, { ...offered, minor: 99 }).readUInt32LE(20), 39);
  assert.deepEqual([initVersionReply(3n).readUInt32LE(16), initVersionReply(3n).length], [7, 80]);
});

test('entryReply and attributesReply say the same of a file, in the sizes that the kernel wants', () => {
  const [bytes, nodeId] = [5_000_000_001, 77];
  const entry = entryReply(9n, nodeId, bytes);
  const attributes = attributesReply(9n, nodeId, bytes);
  assert.deepEqual(
    [outHeader(entry), outHeader(attributes)],
    [
      [144, 0, 9n],
      [120, 0, 9n],
    ],
  );
  assert.deepEqual(entry.subarray(56, 144), attributes.subarray(32, 120));
  assert.deepEqual(
    [entry.readBigUInt64LE(16), entry.readBigUInt64LE(56), entry.readBigUInt64LE(64), entry.readBigUInt64LE(72)],
    [77n, 77n, 5_000_000_001n, 9_765_626n],
  );
  assert.equal(entry.readUInt32LE(56 + 60), 0o100400);
  assert.equal(attributesReply(9n, rootNodeId, undefined).readUInt32LE(32 + 60), 0o040500);
});

test('errorReply has a negative errno and no body', () => {
  assert.deepEqual(outHeader(errorReply(4n, errnos.EIO)), [outHeaderBytes, -5, 4n]);
  assert.equal(errorReply(4n, 0).length, outHeaderBytes);
});

test('notifications have the sizes of linux/fuse.h', () => {
  assert.deepEqual([openReply(1n).length, statfsReply(1n).length], [32, 96]);
  assert.deepEqual(outHeader(resendNotification()), [outHeaderBytes, 7, 0n]);
});
