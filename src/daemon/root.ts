import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { LazypullError } from '../errors.ts';
import { lockFile } from '../kernel/flock.ts';

/**
 * Makes the root directory, with mode 0700, and takes it for this process until the result is disposed of.
 *
 * @throws FailedPrecondition that names the pid of the process that has it; Unavailable when it cannot be made
 */
export async function openRoot(path: string): Promise<Disposable> {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    chmodSync(path, 0o700);
  } catch (error) {
    throw new LazypullError('Unavailable', `Cannot make the root directory "${path}"`, { cause: error });
  }
  return lockFile(join(path, 'lock'), `the root directory "${path}"`);
}
