import { closeSync, existsSync, fchmodSync } from 'node:fs';
import { LazypullError, errnoOf } from '../errors.ts';
import { syscall, syscallNow } from './libc.ts';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_ACCEPTCONN = 30;
const SO_DOMAIN = 39;
const MSG_NOSIGNAL = 0x4000;

/** sizeof(struct sockaddr_un.sun_path), unix(7). */
const sunPathBytes = 108;

/** sizeof(struct ucred): pid, uid, gid. */
const ucredBytes = 12;

const socket = syscall<[number, number, number]>('socket', 'int socket(int domain, int type, int protocol)');
const bind = syscall<[number, Buffer, number]>('bind', 'int bind(int fd, const void *addr, uint32_t len)');
const listen = syscall<[number, number]>('listen', 'int listen(int fd, int backlog)');
const connect = syscall<[number, Buffer, number]>('connect', 'int connect(int fd, const void *addr, uint32_t len)');
const getsockopt = syscall<[number, number, number, Buffer, Buffer]>(
  'getsockopt',
  'int getsockopt(int fd, int level, int name, void *value, void *length)',
);
const getsockoptNow = syscallNow<[number, number, number, Buffer, Buffer]>(
  'getsockopt',
  'int getsockopt(int fd, int level, int name, void *value, void *length)',
);
const getsockname = syscall<[number, Buffer, Buffer]>(
  'getsockname',
  'int getsockname(int fd, void *addr, void *length)',
);
const sendto = syscall<[number, Buffer, number, number, Buffer, number]>(
  'sendto',
  'intptr_t sendto(int fd, const void *data, size_t size, int flags, const void *addr, uint32_t len)',
);

/** Maximum of connections that wait to be accepted, as in Node. */
const backlog = 511;

/**
 * Listens at the unix socket `path`, which must be free, with mode 0600 from the first moment.
 *
 * @returns the descriptor
 */
export async function listenAt(path: string): Promise<number> {
  const address = socketAddress(path);
  const fd = await socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  try {
    fchmodSync(fd, 0o600); // bind(2) gives the file the mode of the socket
    await bind(fd, address, address.length);
    await listen(fd, backlog);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw new LazypullError('Unavailable', `Cannot listen at "${path}"`, { cause: error });
  }
}

/** Whether the descriptor is a unix socket that listens. */
export async function isListening(fd: number): Promise<boolean> {
  try {
    return (await option(fd, SO_DOMAIN)) === AF_UNIX && (await option(fd, SO_ACCEPTCONN)) === 1;
  } catch {
    return false;
  }
}

/** The path that a unix socket is bound to; undefined if it has none. */
export async function boundPath(fd: number): Promise<string | undefined> {
  const address = Buffer.alloc(2 + sunPathBytes);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(address.length);
  await getsockname(fd, address, length);
  const path = address.subarray(2, length.readUInt32LE(0));
  const end = path.indexOf(0);
  return end === 0 || path.length === 0 ? undefined : path.subarray(0, end < 0 ? path.length : end).toString();
}

/**
 * The pid of the process that connected to us with this unix socket; 0 if it lives in another pid namespace. Does not
 * wait.
 */
export function peerPid(fd: number): number {
  const value = Buffer.alloc(ucredBytes);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(ucredBytes);
  getsockoptNow(fd, SOL_SOCKET, SO_PEERCRED, value, length);
  return value.readInt32LE(0);
}

/**
 * The process that listens at the unix socket `path`.
 *
 * @returns the pid of the process that called listen(2) (0 if it lives in another pid namespace); undefined if there is
 * no such file or its process is dead, whether or not something else keeps the socket open
 */
export async function listenerPid(path: string): Promise<number | undefined> {
  const address = socketAddress(path);
  const fd = await socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  try {
    await connect(fd, address, address.length);
    const pid = await option(fd, SO_PEERCRED, ucredBytes);
    return pid === 0 || existsSync(`/proc/${pid}`) ? pid : undefined;
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return undefined;
    if (code === 'EAGAIN' || code === 'EWOULDBLOCK') return 0;
    throw new LazypullError('Unavailable', `Cannot connect to the socket "${path}"`, { cause: error });
  } finally {
    closeSync(fd);
  }
}

/**
 * Sends one datagram to a unix datagram socket.
 *
 * @param path of the socket; a leading "@" stands for the abstract namespace
 */
export async function sendDatagram(path: string, message: string): Promise<void> {
  const address = socketAddress(path);
  const data = Buffer.from(message);
  const fd = await socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  try {
    await sendto(fd, data, data.length, MSG_NOSIGNAL, address, address.length);
  } catch (error) {
    throw new LazypullError('Unavailable', `Cannot send to the socket "${path}"`, { cause: error });
  } finally {
    closeSync(fd);
  }
}

/** The first number in the value of a socket option. */
async function option(fd: number, name: number, bytes = 4): Promise<number> {
  const value = Buffer.alloc(bytes);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes);
  await getsockopt(fd, SOL_SOCKET, name, value, length);
  return value.readInt32LE(0);
}

/** struct sockaddr_un for a path, or for an abstract name if `path` starts with "@". */
function socketAddress(path: string): Buffer {
  const name = Buffer.from(path);
  if (name.length === 0 || name.length >= sunPathBytes) {
    throw new LazypullError(
      'InvalidArgument',
      `Cannot use the socket path "${path}": it must have 1 to ${sunPathBytes - 1} bytes`,
      { hint: 'choose a shorter one' },
    );
  }
  const abstract = name[0] === 0x40;
  if (abstract) name[0] = 0;
  const address = Buffer.alloc(2 + name.length + (abstract ? 0 : 1));
  address.writeUInt16LE(AF_UNIX, 0);
  name.copy(address, 2);
  return address;
}
