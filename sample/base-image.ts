import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { debianSuite, makeDebian } from '../test/support/debian.ts';
import { run } from '../test/support/program.ts';
import { getManifest, gzipLayer, type Manifest, pushImage, tagImage } from '../test/support/push-image.ts';
import { collectGarbage, startRegistry } from '../test/support/registry-process.ts';
import { repository, systemTool } from '../test/support/tools.ts';
import type { Workspace } from '../test/support/workspace.ts';
import type { Progress } from './progress.ts';

/** A base image in the registry whose blobs are kept in `data`. */
export interface BaseImage {
  readonly data: string;
  readonly manifest: Manifest;
  /** Of the image before it was converted. */
  readonly plain: Manifest;
  /** Size of the configuration and all layers. */
  readonly bytes: number;
}

/** Repository and tag of the converted image; script/buildkit/sample_sgz has the same by default. */
export const baseName = 'lazypull-sample/base:esgz';

/** The same of the image as it was before. */
export const plainName = 'lazypull-sample/base:plain';

const [baseRepository = '', baseTag = ''] = baseName.split(':');
const packages = ['gcc', 'g++', 'python3', 'make', 'git', 'ca-certificates', 'openjdk-17-jdk-headless'];

/** What decides the bytes of a converted image; other bytes, another tag. */
const converterRooms = ['convert', 'formats/estargz'];

/**
 * Makes sure that the cached registry has the base image, plain and, unless only that `kind` is wanted, converted.
 * `from` is an image of another registry, or undefined for a Debian with compilers that is made here.
 */
export async function ensureBaseImage(
  from: string | undefined,
  workspace: Workspace,
  progress: Progress,
  signal: AbortSignal,
  kind: 'plain' | 'esgz' = 'esgz',
): Promise<BaseImage> {
  const suite = await debianSuite();
  const recipe = from ?? `mmdebstrap ${suite} ${packages.join(' ')}`;
  const data = join(repository, '.cache', 'sample', shortHash(recipe));
  const plain = 'plain';
  const converted = `esgz-${shortHash(await converterFingerprint())}`;
  await dropOtherTags(data, workspace, [plain, converted, baseTag]);

  await using registry = await startRegistry(await workspace.directory('fill'), data);
  if ((await getManifest(registry.host, baseRepository, plain)) === undefined) {
    const target = `${registry.host}/${baseRepository}:${plain}`;
    if (from === undefined) await pushDebian(suite, target, workspace, progress, signal);
    else await copyImage(from, target, progress, signal);
  }
  if (kind === 'plain') {
    const manifest = await getManifest(registry.host, baseRepository, plain);
    if (manifest === undefined) throw new Error(`There is no image ${plainName} in the registry`);
    return { data, manifest, plain: manifest, bytes: sizeOf(manifest) };
  }
  if ((await getManifest(registry.host, baseRepository, converted)) === undefined) {
    await progress.step('Converting the base image to eStargz', async (detail) => {
      const args = [
        'convert',
        `${registry.host}/${baseRepository}:${plain}`,
        `${registry.host}/${baseRepository}:${converted}`,
      ];
      await run(join(repository, 'bin', 'lazypull'), args, { signal, onLine: detail });
    });
  }
  const manifest = await getManifest(registry.host, baseRepository, converted);
  if (manifest === undefined)
    throw new Error(`The converter left no image ${baseRepository}:${converted} in the registry`);
  await tagImage(registry.host, baseRepository, converted, baseTag);
  const unmodified = await getManifest(registry.host, baseRepository, plain);
  if (unmodified === undefined) throw new Error(`The image ${plainName} is missing in ${data}: remove that directory`);
  return { data, manifest, plain: unmodified, bytes: sizeOf(manifest) };
}

function sizeOf({ config, layers }: Manifest): number {
  return layers.reduce((sum, { size }) => sum + size, config.size);
}

async function pushDebian(
  suite: string,
  target: string,
  workspace: Workspace,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const tar = join(workspace.path, 'base.tar');
  await progress.step(
    `Making a base image: Debian ${suite} with ${packages.join(', ')} (about a minute)`,
    async (detail) => {
      await makeDebian(suite, packages, tar, workspace.path, { signal, onLine: detail }).catch(
        withHint('Making a base needs a Debian mirror; with "--base IMAGE" another image serves', signal),
      );
    },
  );
  await progress.step('Packing it and pushing it to the registry', async () => {
    const layer = await gzipLayer(tar, join(workspace.path, 'base.tar.gz'));
    await rm(tar);
    const slash = target.indexOf('/');
    const [name = '', tag = ''] = target.slice(slash + 1).split(':');
    await pushImage(target.slice(0, slash), name, tag, [layer]);
    await rm(layer.path);
  });
}

async function copyImage(from: string, target: string, progress: Progress, signal: AbortSignal): Promise<void> {
  await progress.step(`Copying ${from} to the registry`, async (detail) => {
    const args = ['copy', '--insecure-policy', '--dest-tls-verify=false'];
    if (/^(localhost|127\.\d+\.\d+\.\d+)(:\d+)?\//.test(from)) args.push('--src-tls-verify=false');
    args.push(`docker://${from}`, `docker://${target}`);
    await run(systemTool('skopeo'), args, { signal, onLine: detail }).catch(
      withHint(`Is "${from}" there, and can it be reached? Without --base a Debian is made`, signal),
    );
  });
}

function withHint(hint: string, signal: AbortSignal): (error: unknown) => never {
  return (error) => {
    if (signal.aborted) throw error;
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${hint}`, { cause: error });
  };
}

/** Changes with what the converter writes. */
export async function converterFingerprint(): Promise<string> {
  const hash = createHash('sha256');
  for (const room of converterRooms) {
    const directory = join(repository, 'src', room);
    for (const name of (await readdir(directory)).sort()) {
      if (name.endsWith('.ts')) hash.update(await readFile(join(directory, name)));
    }
  }
  return hash.digest('hex');
}

/** Removes what earlier versions of the converter wrote from the cache. */
async function dropOtherTags(data: string, workspace: Workspace, wanted: readonly string[]): Promise<void> {
  const repositoryDirectory = join(data, 'docker', 'registry', 'v2', 'repositories', ...baseRepository.split('/'));
  const tags = join(repositoryDirectory, '_manifests', 'tags');
  if (!existsSync(tags)) return;
  const stale = (await readdir(tags)).filter((tag) => !wanted.includes(tag));
  if (stale.length === 0) return;
  for (const tag of stale) await rm(join(tags, tag), { recursive: true });
  await collectGarbage(await workspace.directory('collect'), data);
}

function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}
