import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileSpec } from './estargz-blob.ts';
import type { LayerLab } from './layer-lab.ts';

/** Reads the files of a layer below a directory, one after another, and compares them with what they must hold. */
export async function checkFiles(files: readonly FileSpec[], directory: string): Promise<void> {
  for (const { path, content } of files) assert.ok((await readFile(join(directory, path))).equals(content!), path);
}

/** The same twice: the second time all of it comes from the disk of the daemon. */
export async function checkKeptFiles(lab: LayerLab, files: readonly FileSpec[], directory: string): Promise<void> {
  await checkFiles(files, directory);
  await lab.dropCaches();
  const before = lab.registry.requests.length;
  await checkFiles(files, directory);
  assert.equal(lab.registry.requests.length, before, 'everything is on the disk');
}
