import { copyFile, constants, readFile, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, LazypullError } from '../errors.ts';
import { makeDirectory } from '../kernel/make-directory.ts';
import { replaceFile } from '../kernel/replace-file.ts';

/** No configuration has more. */
const maxFileBytes = 4 << 20;
const maxBackups = 1000;
const newFileMode = 0o644;

/**
 * Replaces a file by what `change` makes of its text ('' if the file is not there), whole or not at all. Mode and owner
 * stay, and a copy of the old file is kept beside it. A symlink stays a symlink.
 *
 * @returns whether something changed, and the path of the copy
 * @throws an error that names the file; its cause is the error of `change`
 */
export async function changeFile(
  path: string,
  change: (text: string) => string,
): Promise<{ changed: boolean; backup: string | undefined }> {
  const file = await realpath(path).catch(() => path);
  try {
    const old = await readOld(file);
    const text = change(old?.text ?? '');
    if (text === old?.text) return { changed: false, backup: undefined };
    makeDirectory(dirname(file));
    const backup = old === undefined ? undefined : await backUp(file);
    const mode = old?.mode ?? newFileMode;
    await replaceFile(file, text, { mode, owner: old, synced: 'name', temporary: `${file}.lazypull-${process.pid}` });
    return { changed: true, backup };
  } catch (cause) {
    if (cause instanceof LazypullError)
      throw new LazypullError('FailedPrecondition', `Cannot change "${file}"`, { cause });
    throw new LazypullError('Unavailable', `Cannot change "${file}"`, { cause });
  }
}

interface OldFile {
  readonly text: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

async function readOld(path: string): Promise<OldFile | undefined> {
  try {
    const { size, mode, uid, gid } = await stat(path);
    if (size > maxFileBytes) throw new LazypullError('InvalidArgument', `It has ${size} bytes: too many`);
    return { text: await readFile(path, 'utf8'), mode: mode & 0o7777, uid, gid };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Copies a file to the first free name beside it. */
async function backUp(path: string): Promise<string> {
  for (let i = 1; i <= maxBackups; i++) {
    const copy = `${path}.before-lazypull${i === 1 ? '' : `.${i}`}`;
    try {
      await copyFile(path, copy, constants.COPYFILE_EXCL);
      return copy;
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
  }
  throw new LazypullError('FailedPrecondition', `There are ${maxBackups} copies beside it: remove some`);
}
