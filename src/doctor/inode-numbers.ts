import { readFile } from 'node:fs/promises';
import type { FileConfig } from '../config/schema.ts';
import type { CheckResult } from './check-result.ts';

/** The kernel's default for an overlay whose options do not say. */
const parameter = '/sys/module/overlay/parameters/xino_auto';

/** Whether programs see all of a lazy image as one file system, and what makes them. */
export async function checkInodeNumbers(file: FileConfig | undefined): Promise<CheckResult> {
  const name = 'inode numbers';
  const { xino = 'on' } = file?.snapshotter ?? {};
  const kernel = (await readFile(parameter, 'utf8').catch(() => '')).trim();
  if (xino !== 'off' || kernel === 'Y') {
    const how = xino === 'off' ? `"${parameter}"` : `the mount option xino=${xino}`;
    return {
      name,
      state: 'right',
      text: `a lazy image has one device number, and inode numbers that stay, by ${how}`,
      advice: '',
    };
  }
  return {
    name,
    state: 'absent',
    text: 'files and directories of a lazy image have different device numbers, and inode numbers of directories change: "du -x", "find -xdev" and "tar --one-file-system" pass over files, and fakeroot loses owners',
    advice: `set xino = "on" in [snapshotter] of the config file; or "echo Y > ${parameter}", for what is mounted from then on`,
  };
}
