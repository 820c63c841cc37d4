import { basename, dirname, join } from 'node:path';
import { rename } from 'node:fs/promises';
import { run } from '../test/support/program.ts';
import type { Tree } from './tree.ts';

/** How much time compression takes. */
export type Effort = 'quick' | 'small';

/** Makes a tarball of a tree: one directory with the name of the file. */
export async function makeTarball(tree: Tree, path: string, effort: Effort): Promise<void> {
  const parent = dirname(tree.path);
  const name = basename(path, '.tar.gz');
  const order = ['--sort=name', '--format=gnu', '--owner=0', '--group=0', '--numeric-owner'];
  const gzip = `--use-compress-program=gzip --no-name -${effort === 'quick' ? 1 : 9}`;
  await rename(tree.path, join(parent, name));
  await run('tar', [...order, gzip, '--directory', parent, '--create', '--file', path, name]);
  await rename(join(parent, name), tree.path);
}
