import assert from 'node:assert/strict';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './program.ts';

const shownDifferences = 20;

/**
 * Every entry of a tree as one line each, sorted: path, type, mode, owner, size, time in nanoseconds, link target, link
 * count and device, then content digests, then xattrs. Two trees are equal file by file when these are.
 */
export async function describeTree(root: string): Promise<string[]> {
  const script = `
    cd "$1"
    find . \\( -type d -printf 'meta %p\\t%y %#m %U:%G - - %T@\\0' -o -printf 'meta %p\\t%y %#m %U:%G %n %s %T@ %l\\0' \\)
    find . \\( -type b -o -type c \\) -exec stat --printf 'dev %n %t:%T\\0' {} +
    find . -type f -print0 | xargs -0 -r sha256sum --zero
    find . -print0 | xargs -0 -r getfattr --absolute-names --no-dereference -d -m - -e hex | tr '\\n' '\\001' | sed 's/\\x01\\x01/\\x00/g'
  `;
  const output = await run('bash', ['-euo', 'pipefail', '-c', script, 'bash', root], { encoding: 'latin1' });
  return output
    .split('\0')
    .filter((line) => line !== '')
    .sort();
}

/** As describeTree, of a tar that is unpacked into `directory`, by GNU tar, and removed again. */
export async function describeTar(tar: string, directory: string): Promise<string[]> {
  const root = join(directory, 'unpacked');
  await mkdir(root);
  await run('tar', [
    '--numeric-owner',
    '--xattrs',
    '--xattrs-include=*',
    '--delay-directory-restore',
    '-xpf',
    tar,
    '-C',
    root,
  ]);
  const lines = await describeTree(root);
  await rm(root, { recursive: true });
  return lines;
}

/** The lines without the root, which the writer of a tree makes itself. */
export function withoutRoot(lines: readonly string[]): string[] {
  return lines.filter((line) => !line.startsWith('meta .\t'));
}

/** Throws with the lines that only one of the trees has. */
export function assertSameTree(actual: readonly string[], expected: readonly string[]): void {
  const only = (lines: readonly string[], other: readonly string[]) => {
    const known = new Set(other);
    return lines.filter((line) => !known.has(line)).slice(0, shownDifferences);
  };
  assert.deepEqual(
    { unexpected: only(actual, expected), missing: only(expected, actual) },
    { unexpected: [], missing: [] },
  );
  assert.equal(actual.length, expected.length);
}
