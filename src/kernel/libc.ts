/**
 * System calls, C libraries and other programs. Everything unsafe is in this room: no other room uses koffi or starts
 * programs, except for credential helpers. It knows the kernel, and nothing about layers, registries or snapshots.
 *
 * Begin with the file of the call that you look for: `mount.ts`, `detached-mount.ts`, `pidfd.ts`, `unix-socket.ts`,
 * `zlib.ts`. `mount-helper.ts` does in a process of its own what might wait for our own file system. `probe.ts` says
 * what a machine has.
 */

import koffi from 'koffi';

const libc = koffi.load('libc.so.6');

/**
 * Declares a function of libc that sets errno, and wraps it so that a negative result throws.
 *
 * @param signature the C prototype as koffi reads it
 * @returns the function; it throws an Error with `code` (`'EBUSY'`, …), `errno` and `syscall`, as Node's own system
 * errors have them
 */
export function syscall<Arguments extends unknown[]>(
  name: string,
  signature: string,
): (...args: Arguments) => Promise<number> {
  const native = libc.func(signature);
  return (...args) =>
    new Promise((resolve, reject) => {
      native.async(...args, (error: unknown, result: number) => {
        if (error !== null && error !== undefined)
          reject(error instanceof Error ? error : new Error(`Cannot call ${name}`));
        else if (result < 0) reject(systemError(name, koffi.errno()));
        else resolve(result);
      });
    });
}

/**
 * As `syscall`, for a call that hardly waits and can be repeated: it is made at once, on this thread, and again if a
 * signal interrupts it.
 */
export function syscallNow<Arguments extends unknown[]>(
  name: string,
  signature: string,
): (...args: Arguments) => number {
  const native = libc.func(signature);
  return (...args) => {
    for (;;) {
      const result: unknown = native(...args);
      if (typeof result === 'number' && result >= 0) return result;
      const errno = koffi.errno();
      if (errno !== koffi.os.errno.EINTR) throw systemError(name, errno);
    }
  };
}

/** An error shaped as Node's system errors: `message` "EBUSY: mount", `code`, `errno` (negative) and `syscall`. */
export function systemError(name: string, errno: number): NodeJS.ErrnoException {
  const code = errnoNames.get(errno) ?? `E${errno}`;
  return Object.assign(new Error(`${code}: ${name}`), { code, errno: -errno, syscall: name });
}

/** If several names have one number, the first is the usual one: EAGAIN, not EWOULDBLOCK. */
const errnoNames: ReadonlyMap<number, string> = new Map(
  Object.entries(koffi.os.errno)
    .toReversed()
    .map(([name, value]) => [value, name]),
);
