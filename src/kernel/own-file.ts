import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { LazypullError } from '../errors.ts';

/** Records are much shorter. */
const defaultMaxBytes = 64 << 10;

const { O_NONBLOCK, O_RDONLY } = constants;

/**
 * Reads a small file that only this program writes. It never waits: something else may have put a named pipe there,
 * at which a plain read would wait for ever.
 *
 * @returns the text, as UTF-8
 * @throws DataLoss if it is no ordinary file or longer than `maxBytes`; else a system error
 */
export function readOwnFile(path: string, maxBytes = defaultMaxBytes): string {
  const fd = openSync(path, O_RDONLY | O_NONBLOCK);
  try {
    const found = fstatSync(fd);
    if (!found.isFile()) throw new LazypullError('DataLoss', `"${path}" is no ordinary file`);
    if (found.size > maxBytes) throw new LazypullError('DataLoss', `"${path}" is longer than ${maxBytes} bytes`);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}
