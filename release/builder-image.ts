import { copyFile, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { repository } from '../test/support/tools.ts';
import { buildBuildkit, type GoModule } from './buildkit.ts';
import { type DebianPackage, makeBuilderBase } from './builder-base.ts';
import { writeArchive } from './oci-archive.ts';
import type { Source } from './source.ts';
import type { Effort } from './tarball.ts';
import { settle, type Tree } from './tree.ts';

/** What the target "builder" of the Dockerfile gives. */
export const builderConfig = {
  Env: [
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'LAZYPULL_HOME=/var/lib/buildkit/lazypull',
  ],
  Entrypoint: ['lazypull-builder'],
  Volumes: { '/var/lib/buildkit': {} },
  WorkingDir: '/',
  Labels: {
    'org.opencontainers.image.licenses': 'Apache-2.0',
    'org.opencontainers.image.title': 'lazypull-builder',
  },
};

/** What is in the image besides what a tree has. */
export interface BuilderContents {
  readonly debian: readonly DebianPackage[];
  readonly go: readonly GoModule[];
}

/**
 * Makes the image of a builder as an archive: a small Debian, BuildKit and lazypull, each a layer. The tree is
 * there again afterwards.
 *
 * @param work an empty directory
 */
export async function makeBuilderImage(
  tree: Tree,
  work: string,
  path: string,
  { version, epoch }: Source,
  effort: Effort,
): Promise<BuilderContents> {
  const { architecture } = tree;
  const directory = async (name: string) => {
    await mkdir(join(work, name));
    return join(work, name);
  };
  const base = await directory('base');
  const debian = await makeBuilderBase(architecture, base, await directory('apt'), epoch);
  const buildkit = await directory('buildkit');
  const bin = join(buildkit, 'usr', 'local', 'bin');
  const go = await buildBuildkit(architecture, bin, join(buildkit, 'usr/local/share/doc/buildkit/copyright'));
  await copyFile(join(repository, 'share', 'builder', 'lazypull-builder'), join(bin, 'lazypull-builder'));
  await settle(buildkit, epoch);
  const lazypull = await directory('lazypull');
  const prefix = join(lazypull, 'usr', 'local');
  await mkdir(join(lazypull, 'usr'));
  await rename(tree.path, prefix);
  await settle(lazypull, epoch);
  const spec = { architecture, name: 'lazypull-builder', tag: version, config: builderConfig, epoch };
  const layers = [
    { root: base, createdBy: 'Debian, its packages unpacked' },
    { root: buildkit, createdBy: `BuildKit ${go[0]?.version}` },
    { root: lazypull, createdBy: `lazypull ${version}` },
  ];
  await writeArchive(spec, layers, await directory('archive'), path, effort);
  await rename(prefix, tree.path);
  return { debian, go };
}
