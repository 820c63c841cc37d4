import { access, stat } from 'node:fs/promises';
import { syscall } from './libc.ts';

const getxattr = syscall<[string, string, null, number]>(
  'getxattr',
  'intptr_t getxattr(const char *path, const char *name, void *value, size_t size)',
);
const listxattr = syscall<[string, null, number]>(
  'listxattr',
  'intptr_t listxattr(const char *path, char *list, size_t size)',
);

/**
 * Has the kernel ask a FUSE file system for what it keeps of a directory from then on: its attributes, and that the
 * server knows nothing of extended ones and of permissions. A program that looks at the directory later waits for no
 * server.
 */
export async function lookFirst(directory: string): Promise<void> {
  await stat(directory);
  await Promise.allSettled([
    access(directory),
    getxattr(directory, 'security.selinux', null, 0),
    listxattr(directory, null, 0),
  ]);
}
