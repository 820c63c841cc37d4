import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startBuildkitd } from './buildkitd.ts';

/** Has stock BuildKit write the image `source` as eStargz to `target`, both in registries on loopback. */
export async function convertWithBuildkit(directory: string, source: string, target: string): Promise<void> {
  const context = join(directory, 'context');
  await mkdir(context, { recursive: true });
  await writeFile(join(context, 'Dockerfile'), `FROM ${source}\n`);
  {
    await using buildkitd = await startBuildkitd(directory, { kind: 'oci', snapshotter: 'overlayfs' });
    const options = 'push=true,compression=estargz,oci-mediatypes=true,force-compression=true';
    await buildkitd.build({ context, output: `type=image,name=${target},${options}` });
  }
  await rm(directory, { recursive: true });
}
