import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../test/support/program.ts';
import { SnapshotsClient } from '../../test/support/snapshots-client.ts';
import { blobPath } from '../images.ts';
import { median } from '../report/statistics.ts';
import type { Cell, Scenario, Work } from './work.ts';

const find: Work = {
  id: 'e-find',
  title: 'warm `find` with a stat of every file (full pull: the same tree unpacked to the local disk)',
};
const tar: Work = { id: 'e-tar', title: 'warm `tar` (full pull: the same tree unpacked to the local disk)' };
const repetitions = 5;

/**
 * Reads of a tree that has been read before: mounted from the registry, or unpacked to a directory on the local file
 * system.
 */
export const warmReads: Scenario = {
  works: [find, tar],
  onBuildkit: false,
  overLink: false,
  subjects: ['full', 'lazypull', 'stargz'],
  setOf: ({ base }) => base,
  async run(cell) {
    const tree = join(cell.directory, 'tree');
    if (cell.snapshotter === undefined) {
      await unpack(cell, tree);
      await measureReads(cell, tree);
      return;
    }
    using client = new SnapshotsClient(cell.snapshotter.socket);
    const [image] = cell.set.images;
    if (image === undefined) throw new Error('The image is missing');
    const name = await client.prepareImage('warm', `${cell.link.host}/${image.name}`, image.layers);
    await client.mount(name, tree);
    try {
      await measureReads(cell, tree);
    } finally {
      await client.unmount(tree);
    }
  },
};

/** Everything once unmeasured, so that it is complete and in the page cache; then the medians of five. */
async function measureReads(cell: Cell, tree: string): Promise<void> {
  const commands = [
    [find, `cd "$1" && find . -xdev -printf '%p %s %m %T@\\n' > /dev/null`],
    // GNU tar reads no file when it sees that it writes to /dev/null.
    [tar, `tar -cf - -C "$1" . | cat > /dev/null`],
  ] as const;
  for (const [, script] of commands) await shell(cell, script, tree);
  for (const [work, script] of commands) {
    await cell.measure(work, async () => {
      const seconds: number[] = [];
      for (let i = 0; i < repetitions; i++) {
        const started = performance.now();
        await shell(cell, script, tree);
        seconds.push((performance.now() - started) / 1000);
      }
      return median(seconds);
    });
  }
}

async function unpack(cell: Cell, tree: string): Promise<void> {
  await mkdir(tree);
  for (const { digest } of cell.set.images[0]?.layers ?? []) {
    await run('tar', ['-xpzf', blobPath(cell.set.data, digest), '-C', tree], { signal: cell.signal });
  }
}

async function shell({ signal }: Cell, script: string, tree: string): Promise<void> {
  await run('bash', ['-euo', 'pipefail', '-c', script, 'bash', tree], { signal });
}
