/**
 * The part of the FUSE kernel protocol (linux/fuse.h, 7.31 to 7.45) that a read-only file system of flat files needs,
 * as plain encoders and decoders over Buffers. Little-endian hosts only, as Node's supported Linux platforms are.
 */

export const opcodes = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  open: 14,
  read: 15,
  statfs: 17,
  release: 18,
  flush: 25,
  init: 26,
  readdir: 28,
  releasedir: 29,
  destroy: 38,
  batchForget: 42,
} as const;

export const errnos = { ENOENT: 2, EIO: 5, EINVAL: 22, ENOSYS: 38 } as const;

export const rootNodeId = 1;
export const inHeaderBytes = 40;
export const outHeaderBytes = 16;
export const protocolMajor = 7;
const protocolMinor = 39;

/** The largest READ that the kernel is told to send, in bytes. */
export const maxReadBytes = 1 << 20;
const maxWriteBytes = 4096;

/** Room for the largest request. A request to a read-only file system is never longer than FUSE_MIN_READ_BUFFER. */
export const requestBytes = 8192;

const FUSE_ASYNC_READ = 1 << 0;
const FUSE_ASYNC_DIO = 1 << 15;
const FUSE_PARALLEL_DIROPS = 1 << 18;
const FUSE_MAX_PAGES = 1 << 22;
const FUSE_EXPLICIT_INVAL_DATA = 1 << 25;

const FOPEN_DIRECT_IO = 1 << 0;
const FOPEN_KEEP_CACHE = 1 << 1;
const FOPEN_NOFLUSH = 1 << 5;

const FUSE_NOTIFY_RESEND = 7;

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;

/** How long the kernel may trust a name and its attributes: they never change while a layer is served. */
const forever = 0x7fff_ffffn;

export interface RequestHeader {
  length: number;
  opcode: number;
  unique: bigint;
  /** Node ids are made by this program and are safe integers. */
  nodeId: number;
}

/** Decodes struct fuse_in_header. */
export function readRequestHeader(buffer: Buffer): RequestHeader {
  return {
    length: buffer.readUInt32LE(0),
    opcode: buffer.readUInt32LE(4),
    unique: buffer.readBigUInt64LE(8),
    nodeId: Number(buffer.readBigUInt64LE(16)),
  };
}

/** How many bytes after the header the decoders below need. */
export function leastBodyBytes(opcode: number): number {
  if (opcode === opcodes.read) return 20;
  return opcode === opcodes.init ? 16 : 0;
}

/** Decodes the two fields of struct fuse_read_in that a flat file needs; both in bytes. */
export function readReadRequest(buffer: Buffer): { offset: number; size: number } {
  return { offset: Number(buffer.readBigUInt64LE(inHeaderBytes + 8)), size: buffer.readUInt32LE(inHeaderBytes + 16) };
}

/** Decodes the name of a LOOKUP. */
export function readLookupName(buffer: Buffer, length: number): string {
  const end = buffer.indexOf(0, inHeaderBytes);
  return buffer.toString('latin1', inHeaderBytes, end < 0 || end > length ? length : end);
}

/** Decodes the versions and limits of struct fuse_init_in. */
export function readInit(buffer: Buffer): { major: number; minor: number; maxReadAhead: number; flags: number } {
  return {
    major: buffer.readUInt32LE(inHeaderBytes),
    minor: buffer.readUInt32LE(inHeaderBytes + 4),
    maxReadAhead: buffer.readUInt32LE(inHeaderBytes + 8),
    flags: buffer.readUInt32LE(inHeaderBytes + 12),
  };
}

/** Encodes an answer that is an errno, or an empty success for 0. */
export function errorReply(unique: bigint, errno: number): Buffer {
  return writeOutHeader(Buffer.alloc(outHeaderBytes), outHeaderBytes, unique, errno);
}

/** Encodes struct fuse_init_out for what the kernel offered. */
export function initReply(unique: bigint, offered: { minor: number; maxReadAhead: number; flags: number }): Buffer {
  const wanted = FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_EXPLICIT_INVAL_DATA;
  const reply = newReply(unique, 64);
  reply.writeUInt32LE(protocolMajor, 16);
  reply.writeUInt32LE(Math.min(protocolMinor, offered.minor), 20);
  reply.writeUInt32LE(offered.maxReadAhead, 24);
  reply.writeUInt32LE((wanted & offered.flags) >>> 0, 28);
  reply.writeUInt16LE(256, 32); // max_background
  reply.writeUInt16LE(192, 34); // congestion_threshold
  reply.writeUInt32LE(maxWriteBytes, 36);
  reply.writeUInt32LE(1, 40); // time_gran
  reply.writeUInt16LE(maxReadBytes / 4096, 44); // max_pages
  return reply;
}

/** Encodes the answer to INIT that asks a kernel with an unknown major version to use ours. */
export function initVersionReply(unique: bigint): Buffer {
  const reply = newReply(unique, 64);
  reply.writeUInt32LE(protocolMajor, 16);
  reply.writeUInt32LE(protocolMinor, 20);
  return reply;
}

/** Encodes struct fuse_entry_out of a regular file. */
export function entryReply(unique: bigint, nodeId: number, fileBytes: number): Buffer {
  const reply = newReply(unique, 128);
  reply.writeBigUInt64LE(BigInt(nodeId), 16);
  reply.writeBigUInt64LE(0n, 24);
  reply.writeBigUInt64LE(forever, 32);
  reply.writeBigUInt64LE(forever, 40);
  writeAttributes(reply, 56, nodeId, fileBytes);
  return reply;
}

/** Encodes struct fuse_attr_out of the root directory (`fileBytes` undefined) or of a regular file. */
export function attributesReply(unique: bigint, nodeId: number, fileBytes: number | undefined): Buffer {
  const reply = newReply(unique, 104);
  reply.writeBigUInt64LE(forever, 16);
  writeAttributes(reply, 32, nodeId, fileBytes);
  return reply;
}

/**
 * Encodes struct fuse_open_out. It sets direct I/O, because EROFS above caches every page that it reads: the page cache
 * of the file below would hold the data twice. (EROFS reads its metadata through that page cache anyway.)
 */
export function openReply(unique: bigint): Buffer {
  const reply = newReply(unique, 16);
  reply.writeUInt32LE(FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE | FOPEN_NOFLUSH, 24);
  return reply;
}

/**
 * Encodes FUSE_NOTIFY_RESEND (Linux 6.9): the kernel sends every request again that was read and not answered, with bit
 * 63 of `unique` set.
 */
export function resendNotification(): Buffer {
  const notification = Buffer.alloc(outHeaderBytes);
  notification.writeUInt32LE(outHeaderBytes, 0);
  notification.writeInt32LE(FUSE_NOTIFY_RESEND, 4);
  return notification;
}

/** Encodes an all-zero struct fuse_statfs_out with a block size and a name length. */
export function statfsReply(unique: bigint): Buffer {
  const reply = newReply(unique, 80);
  reply.writeUInt32LE(4096, 16 + 40);
  reply.writeUInt32LE(255, 16 + 44);
  return reply;
}

/** Fills in struct fuse_out_header for an answer of `length` bytes in all. */
export function writeOutHeader(reply: Buffer, length: number, unique: bigint, errno: number): Buffer {
  reply.writeUInt32LE(length, 0);
  reply.writeInt32LE(-errno, 4);
  reply.writeBigUInt64LE(unique, 8);
  return reply;
}

function newReply(unique: bigint, bodyBytes: number): Buffer {
  return writeOutHeader(Buffer.alloc(outHeaderBytes + bodyBytes), outHeaderBytes + bodyBytes, unique, 0);
}

function writeAttributes(reply: Buffer, at: number, nodeId: number, fileBytes: number | undefined): void {
  const isFile = fileBytes !== undefined;
  reply.writeBigUInt64LE(BigInt(nodeId), at);
  reply.writeBigUInt64LE(BigInt(fileBytes ?? 0), at + 8);
  reply.writeBigUInt64LE(BigInt(Math.ceil((fileBytes ?? 0) / 512)), at + 16);
  reply.writeUInt32LE(isFile ? S_IFREG | 0o400 : S_IFDIR | 0o500, at + 60);
  reply.writeUInt32LE(isFile ? 1 : 2, at + 64);
  reply.writeUInt32LE(4096, at + 80);
}
