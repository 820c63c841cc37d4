import { access, readFile } from 'node:fs/promises';
import { codeOf, type ErrorCode, messageOf } from '../errors.ts';
import { lookFirst } from './first-look.ts';
import { detach, mountImage, mountThroughLoop, unmount } from './mount.ts';
import { clearMountPoint, coverMountPoint, fillMountPoint } from './mount-point.ts';
import { watchMounts } from './mount-watch.ts';

/** A request to the helper. */
export interface HelperCall {
  readonly id: number;
  readonly kind: keyof typeof calls;
  /** What the function of this kind takes. */
  readonly texts: readonly string[];
}

export type HelperAnswer =
  | { readonly id: number; readonly result: boolean }
  | { readonly id: number; readonly error: { code: ErrorCode; message: string; cause?: string } };

/** Says that something has been mounted or unmounted in our mount namespace, by any process. */
export interface MountsChanged {
  readonly mountsChanged: true;
}

/** The channel to the process that started us: it comes after the standard streams. */
const channelDescriptor = 3;

const calls = {
  mountImage: (type: string, source: string, target = '') => mountImage(type, source, target).then(() => true),
  fill: (type: string, source: string, target = '') => fillMountPoint(type, source, target).then(() => true),
  fillThroughLoop: (type: string, source: string, target = '') =>
    fillMountPoint(type, source, target, mountThroughLoop).then(() => true),
  cover: (type: string, source: string, target = '') => coverMountPoint(type, source, target).then(() => true),
  unmountAll: (target: string) => clearMountPoint(target, unmount),
  detachAll: (target: string) => clearMountPoint(target, detach),
  detach: (target: string) => detach(target),
  lookFirst: (directory: string) => lookFirst(directory).then(() => true),
  read: (path: string) => readFile(path).then(() => true),
  exists: (path: string) =>
    access(path).then(
      () => true,
      () => false,
    ),
};

// Only a lost connection ends this process. Signals of a terminal or a service manager to all processes of a program
// are meant for the one that we help.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => process.exit(0));
process.on('message', (call: HelperCall) => void answer(call));
void watchMounts(channelDescriptor, () => send({ mountsChanged: true }));

async function answer({ id, kind, texts }: HelperCall): Promise<void> {
  const [first = '', second = '', third] = texts;
  try {
    send({ id, result: await calls[kind](first, second, third) });
  } catch (error) {
    const { message, cause } = error instanceof Error ? error : new Error(String(error));
    send({ id, error: { code: codeOf(error), message, ...(cause === undefined ? {} : { cause: messageOf(cause) }) } });
  }
}

function send(message: HelperAnswer | MountsChanged): void {
  process.send?.(message, () => undefined); // the process that asked may be gone
}
