import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Builder } from './lab.ts';
import { mountsBelow } from './workspace.ts';
import { until } from './until.ts';

const releaseMs = 30_000;

/** The digests of the blobs in the content store that the builder's worker uses. */
export async function contentOf({ directory, containerd }: Builder): Promise<string[]> {
  if (containerd !== undefined)
    return words(await containerd.ctr('--namespace', 'buildkit', 'content', 'ls', '--quiet'));
  const blobs = join(directory, 'bk', 'root', 'runc-stargz', 'content', 'blobs', 'sha256');
  return (await readdir(blobs)).map((name) => `sha256:${name}`);
}

/**
 * Removes what was built, its history and its images, and waits until the builder keeps nothing: no cache, no content,
 * no lease, no snapshot, no mount.
 */
export async function releaseAll(builder: Builder): Promise<void> {
  const { buildkitd, containerd } = builder;
  await buildkitd.buildctl('prune-histories');
  for (const namespace of containerd === undefined ? [] : ['buildkit', 'buildkit_history']) {
    const images = words((await containerd?.ctr('--namespace', namespace, 'images', 'ls', '--quiet')) ?? '');
    for (const image of images) await containerd?.ctr('--namespace', namespace, 'images', 'rm', '--sync', image);
  }
  let kept: Record<string, string[]> = {};
  await until(
    async () => {
      await buildkitd.buildctl('prune', '--all');
      kept = await keptBy(builder);
      return Object.values(kept).every((names) => names.length === 0);
    },
    () => `nothing is left after a prune of everything, but there is ${JSON.stringify(kept)}`,
    releaseMs,
  );
}

async function keptBy(builder: Builder): Promise<Record<string, string[]>> {
  const { buildkitd, containerd, daemon } = builder;
  const kept: Record<string, string[]> = {
    records: words(await buildkitd.buildctl('du', '--format', '{{range .}}{{.ID}} {{end}}')),
    content: await contentOf(builder),
  };
  if (daemon !== undefined) {
    const snapshots = join(daemon.root, 'snapshotter', 'snapshots');
    kept['directories'] = await readdir(snapshots);
    kept['mounts'] = await mountsBelow(snapshots);
  }
  if (containerd !== undefined) {
    const listed = await containerd.ctr('--namespace', 'buildkit', 'snapshots', '--snapshotter', 'stargz', 'ls');
    kept['snapshots'] = words(listed.split('\n').slice(1).join('\n'));
    kept['leases'] = words(await containerd.ctr('--namespace', 'buildkit', 'leases', 'ls', '--quiet'));
  }
  return kept;
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}
