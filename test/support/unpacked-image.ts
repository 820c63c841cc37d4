import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './program.ts';

/** An image of one platform, unpacked. */
export interface UnpackedImage {
  /** As the image specification has it. */
  readonly config: {
    readonly architecture: string;
    readonly config: Readonly<Record<string, unknown>> & { readonly Env: readonly string[] };
  };
  /** The directory with its files. No layer hides files of another one. */
  readonly root: string;
}

interface Index {
  readonly manifests: readonly { readonly digest: string }[];
}

interface Manifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string }[];
}

/** Unpacks the only image of an archive in the layout of OCI. */
export async function unpackImage(archive: string, directory: string): Promise<UnpackedImage> {
  const layout = join(directory, 'layout');
  const root = join(directory, 'root');
  for (const each of [layout, root]) await mkdir(each, { recursive: true });
  await run('tar', ['--extract', '--file', archive, '--directory', layout]);
  const blob = (digest: string) => join(layout, 'blobs', digest.replace(':', '/'));
  const read = async <T>(path: string) => JSON.parse(await readFile(path, 'utf8')) as T;
  const index = await read<Index>(join(layout, 'index.json'));
  const manifest = await read<Manifest>(blob(index.manifests[0]!.digest));
  for (const { digest } of manifest.layers) {
    await run('tar', ['--extract', '--gzip', '--numeric-owner', '--file', blob(digest), '--directory', root]);
  }
  return { config: await read(blob(manifest.config.digest)), root };
}
