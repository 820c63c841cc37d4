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
 * Makes the kernel ask a FUSE file system now for everything that it caches about a directory: its attributes, and that
 * the server supports neither extended attributes nor permissions. A program that looks at the directory later waits
 * for no server.
 */
export async function lookFirst(directory: string): Promise<void> {
  await stat(directory);
  await Promise.allSettled([
    access(directory),
    getxattr(directory, 'security.selinux', null, 0),
    listxattr(directory, null, 0),
  ]);
}
