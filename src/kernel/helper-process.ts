import { access, readFile, rmdir } from 'node:fs/promises';
import { codeOf, type ErrorCode, messageOf } from '../errors.ts';
import { detach, mountErofs, unmount } from './mount.ts';

/** What the helper is asked for. */
export interface HelperCall {
  readonly id: number;
  readonly kind: keyof typeof calls;
  readonly paths: readonly string[];
}

export type HelperAnswer =
  | { readonly id: number; readonly result: boolean }
  | { readonly id: number; readonly error: { code: ErrorCode; message: string; cause?: string } };

const calls = {
  mountErofs: (source: string, target: string) => mountErofs(source, target).then(() => true),
  unmountAll: (target: string) => takeAway(target, unmount),
  detachAll: (target: string) => takeAway(target, detach),
  detach: (target: string) => detach(target),
  read: (path: string) => readFile(path).then(() => true),
  exists: (path: string) =>
    access(path).then(
      () => true,
      () => false,
    ),
};

// Only a lost connection ends us: what a terminal or a service manager sends to all of a program's processes is for the one that we help.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => process.exit(0));
process.on('message', (call: HelperCall) => void answer(call));

/** Without a moment in between in which somebody could take the empty directory for what was mounted there. */
async function takeAway(target: string, once: (target: string) => Promise<boolean>): Promise<boolean> {
  let was = false;
  while (await once(target)) was = true;
  await rmdir(target).catch(() => undefined); // it is gone, or there is something in it
  return was;
}

async function answer({ id, kind, paths }: HelperCall): Promise<void> {
  const [path = '', target = ''] = paths;
  try {
    send({ id, result: await calls[kind](path, target) });
  } catch (error) {
    const { message, cause } = error instanceof Error ? error : new Error(String(error));
    send({ id, error: { code: codeOf(error), message, ...(cause === undefined ? {} : { cause: messageOf(cause) }) } });
  }
}

function send(answer: HelperAnswer): void {
  process.send?.(answer, () => undefined); // whoever asked may be gone
}
