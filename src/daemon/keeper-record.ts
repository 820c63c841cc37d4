import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, LazypullError, messageOf } from '../errors.ts';
import type { HeldConnection } from '../fuse/connection.ts';
import { isConnectionName } from '../fuse/connection-name.ts';
import { bootId } from '../kernel/boot.ts';
import { directoryIdentity } from '../kernel/directory-identity.ts';
import { readOwnFile } from '../kernel/own-file.ts';
import { commandLineOf, identityOf, isRunning, type ProcessIdentity, processIds } from '../kernel/pidfd.ts';
import type { ListeningSocket } from './socket.ts';

/**
 * The content of `keeper.json`; descriptors are the keeper's. Old versions that serve one client know one socket, and
 * some have no root of the connection.
 */
export interface KeeperRecord {
  readonly version: typeof recordVersion;
  readonly boot: string;
  /** The identity of the root directory: a copy of it has no keeper. Records of old versions do not have it. */
  readonly directory?: string | undefined;
  readonly keeper: ProcessIdentity;
  readonly fuse: HeldConnection;
  readonly socket?: ListeningSocket | undefined;
  readonly moreSockets?: readonly ListeningSocket[] | undefined;
}

export const recordVersion = 1;

const name = 'lazypull-keeper';

/** Enough for a record with as many sockets as a daemon can have. */
const maxRecordBytes = 256 << 10;
const maxSockets = 256;
/** PID_MAX_LIMIT of Linux, which is also more descriptors than the kernel gives to a process. */
const maxPid = 1 << 22;
const maxDescriptor = 1 << 30;
/** The longest time-out of fs.fuse in sysctl(8). */
const maxAnswerMs = 65_535_000;

/** The path of the record of a root's keeper. */
export function recordPath(root: string): string {
  return join(root, 'keeper.json');
}

/** The last words of a keeper's command line. They tell which root it belongs to, even without a record. */
export function keeperTitle(root: string): string[] {
  return [name, root, directoryIdentity(root)];
}

/**
 * The keepers of a root directory, with a record or without. Keepers of old versions whose command line does not name
 * the directory are missing.
 */
export function keepersOf(root: string): ProcessIdentity[] {
  if (!existsSync(root)) return [];
  const identity = directoryIdentity(root);
  return processIds().flatMap((pid) => {
    const [title, , directory] = titleOf(pid);
    return title === name && directory === identity ? (identityOf(pid) ?? []) : [];
  });
}

/**
 * The record in the file, if the keeper that it names runs and belongs to this directory.
 *
 * @param onProblem is called if the file is damaged
 */
export function readRecord(
  root: string,
  onProblem: (problem: string) => void = () => undefined,
): KeeperRecord | undefined {
  try {
    const record = parseRecord(readOwnFile(recordPath(root), maxRecordBytes));
    if (record.boot !== bootId() || !isRunning(record.keeper)) return undefined;
    if (record.directory !== undefined && record.directory !== directoryIdentity(root)) return undefined;
    if (titleOf(record.keeper.pid)[0] !== name)
      throw new LazypullError('DataLoss', 'It names a process that is not a keeper');
    return record;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    if (!(error instanceof LazypullError)) throw error;
    onProblem(messageOf(error));
    return undefined;
  }
}

/** Parses a record. Throws DataLoss that names a member which no version has written so. */
export function parseRecord(text: string): KeeperRecord {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new LazypullError('DataLoss', 'It is not JSON');
  }
  const { version, boot, directory, keeper, fuse, socket, moreSockets = [] } = objectIn(value, 'anything');
  if (version !== recordVersion) throw damaged('version');
  if (typeof boot !== 'string') throw damaged('boot');
  if (directory !== undefined && typeof directory !== 'string') throw damaged('directory');
  if (!Array.isArray(moreSockets) || moreSockets.length > maxSockets) throw damaged('moreSockets');
  const { pid, startTicks } = objectIn(keeper, 'keeper');
  return {
    version,
    boot,
    directory,
    keeper: {
      pid: numberIn(pid, 1, maxPid, 'keeper.pid'),
      startTicks: numberIn(startTicks, 0, Number.MAX_SAFE_INTEGER, 'keeper.startTicks'),
    },
    fuse: connectionIn(fuse),
    socket: socket === undefined ? undefined : socketIn(socket, 'socket'),
    moreSockets: moreSockets.map((each) => socketIn(each, 'moreSockets')),
  };
}

function connectionIn(value: unknown): HeldConnection {
  const { name, fd, root, wasAttached, answerWithinMs } = objectIn(value, 'fuse');
  if (typeof name !== 'string' || !isConnectionName(name)) throw damaged('fuse.name');
  if (wasAttached !== undefined && typeof wasAttached !== 'boolean') throw damaged('fuse.wasAttached');
  return {
    name,
    fd: numberIn(fd, 0, maxDescriptor, 'fuse.fd'),
    root: root === undefined ? undefined : numberIn(root, 0, maxDescriptor, 'fuse.root'),
    wasAttached,
    answerWithinMs:
      answerWithinMs === undefined ? undefined : numberIn(answerWithinMs, 0, maxAnswerMs, 'fuse.answerWithinMs'),
  };
}

function socketIn(value: unknown, member: string): ListeningSocket {
  const { fd, path, device, inode } = objectIn(value, member);
  if (typeof path !== 'string' || typeof device !== 'number' || typeof inode !== 'number') throw damaged(member);
  return { fd: numberIn(fd, 0, maxDescriptor, `${member}.fd`), path, device, inode };
}

function objectIn(value: unknown, member: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw damaged(member);
  return value as Record<string, unknown>;
}

function numberIn(value: unknown, least: number, most: number, member: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) throw damaged(member);
  return value;
}

function damaged(member: string): LazypullError {
  return new LazypullError('DataLoss', `Its "${member}" is not what any version writes`);
}

/** The last words of a process's command line, from the name of a keeper on; none if it is not one. */
function titleOf(pid: number): string[] {
  const words = commandLineOf(pid).split('\0');
  return words[3] === name ? words.slice(3) : [];
}
