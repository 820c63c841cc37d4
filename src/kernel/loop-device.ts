import { closeSync, openSync } from 'node:fs';
import { errnoOf } from '../errors.ts';
import { syscall } from './libc.ts';

/** linux/loop.h */
const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_AUTOCLEAR = 4;

/** sizeof(struct loop_config), and the offset of the flags in its struct loop_info64. */
const configBytes = 304;
const flagsAt = 8 + 52;

/** How often another program may take the free device before us. */
const maxTries = 64;

const control = syscall<[number, number, number]>('ioctl', 'int ioctl(int fd, unsigned long request, intptr_t value)');
const configure = syscall<[number, number, Buffer]>('ioctl', 'int ioctl(int fd, unsigned long request, void *config)');

/** A loop device, which disappears when it is neither open nor mounted any more. */
export interface LoopDevice extends Disposable {
  readonly path: string;
}

/** Makes a read-only loop device of a file (LOOP_CONFIGURE, Linux 5.8). It must be mounted before it is disposed of. */
export async function openLoop(file: string): Promise<LoopDevice> {
  const backing = openSync(file, 'r');
  try {
    const config = Buffer.alloc(configBytes);
    config.writeUInt32LE(backing);
    config.writeUInt32LE(LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR, flagsAt);
    for (let tries = 1; ; tries++) {
      const path = await freeDevice();
      const device = openSync(path, 'r');
      try {
        await configure(device, LOOP_CONFIGURE, config);
        return { path, [Symbol.dispose]: () => closeSync(device) };
      } catch (error) {
        closeSync(device);
        if (errnoOf(error) !== 'EBUSY' || tries === maxTries) throw error;
      }
    }
  } finally {
    closeSync(backing);
  }
}

async function freeDevice(): Promise<string> {
  const loop = openSync('/dev/loop-control', 'r+');
  try {
    return `/dev/loop${await control(loop, LOOP_CTL_GET_FREE, 0)}`;
  } finally {
    closeSync(loop);
  }
}
