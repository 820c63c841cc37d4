import { createCipheriv, createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type BaseImage, baseName, converterFingerprint, ensureBaseImage, plainName } from '../sample/base-image.ts';
import type { Progress } from '../sample/progress.ts';
import { run } from '../test/support/program.ts';
import { getManifest, gzipLayer, type GzipLayer, type Manifest, pushImage } from '../test/support/push-image.ts';
import { startRegistry } from '../test/support/registry-process.ts';
import { copyProgram } from '../test/support/small-base.ts';
import { repository, systemTool } from '../test/support/tools.ts';
import type { Workspace } from '../test/support/workspace.ts';

/** An eStargz image in one of the registries. */
export interface Image {
  /** Repository and tag. */
  readonly name: string;
  readonly layers: Manifest['layers'];
  readonly bytes: number;
}

/** A directory of blobs for a registry, with the images in it. */
export interface ImageSet {
  readonly data: string;
  readonly images: readonly Image[];
}

/** All that the benchmark builds on. */
export interface Images {
  /** One image: the base of script/sample, a Debian with compilers. */
  readonly base: ImageSet;
  /** One image of many layers. */
  readonly layers: ImageSet;
  /** Many images that share nothing. */
  readonly many: ImageSet;
  /** `base` and `layers` as they were before they became eStargz. */
  readonly plainBase: ImageSet;
  readonly plainLayers: ImageSet;
  /** One image of few large layers, as it was made. */
  readonly plainLarge: ImageSet;
}

/** Layers of the image of many layers, each a MB; the lowest has busybox besides. */
export const layerCount = 30;
/** Layers of the image of large ones, of 30 MB each, most of which does not compress. */
export const largeLayerCount = 10;
/** Images that share nothing. */
export const manyCount = 20;
/** Files in each of them. */
export const manyFiles = 200;

const layerFiles = 16;
const layerFileBytes = 65_536;
const manyFileBytes = 100_000;
const largeFiles = 200;
const largeFileBytes = 100_000;
const applets = ['sh', 'cat', 'sha256sum'];
/** Changes whenever the made images do. */
const recipe = JSON.stringify([
  2,
  [layerCount, layerFiles, layerFileBytes],
  [largeLayerCount, largeFiles, largeFileBytes],
  [manyCount, manyFiles, manyFileBytes],
]);

/** Makes the images, or finds them in .cache where they were made before. */
export async function ensureImages(workspace: Workspace, progress: Progress, signal: AbortSignal): Promise<Images> {
  const base = await ensureBaseImage(undefined, workspace, progress, signal);
  signal.throwIfAborted();
  const { data, images, plain } = await ensureMade(workspace, progress, signal);
  const images30 = images.filter(({ name }) => name.startsWith('bench/layers:'));
  const many = images.filter(({ name }) => !name.startsWith('bench/layers:'));
  return {
    base: { data: base.data, images: [imageOf(baseName, base.manifest)] },
    layers: { data, images: images30 },
    plainBase: { data: base.data, images: [imageOf(plainName, base.plain)] },
    plainLayers: { data, images: plain.filter(({ name }) => name.startsWith('bench/layers:')) },
    plainLarge: { data, images: plain.filter(({ name }) => name.startsWith('bench/large:')) },
    many: { data, images: many },
  };
}

/** Reads the blobs once, so that no build pays for a cold disk below the registry. */
export async function warmUp(data: string, { layers }: Image): Promise<void> {
  for (const { digest } of layers) {
    for await (const _ of createReadStream(blobPath(data, digest), { highWaterMark: 1024 * 1024 }));
  }
}

/** Where docker-registry keeps a blob. */
export function blobPath(data: string, digest: string): string {
  const hex = digest.slice('sha256:'.length);
  return join(data, 'docker', 'registry', 'v2', 'blobs', 'sha256', hex.slice(0, 2), hex, 'data');
}

async function ensureMade(
  workspace: Workspace,
  progress: Progress,
  signal: AbortSignal,
): Promise<ImageSet & { readonly plain: readonly Image[] }> {
  const parent = join(repository, '.cache', 'bench');
  const hash = createHash('sha256')
    .update(recipe)
    .update(await converterFingerprint());
  const data = join(parent, hash.digest('hex').slice(0, 12));
  const names = ['bench/layers', ...Array.from({ length: manyCount }, (_, index) => `bench/many-${index}`)];
  if (!existsSync(data)) {
    await rm(parent, { recursive: true, force: true });
    await mkdir(parent, { recursive: true });
    await progress.step(`Making ${names.length} small images`, (detail) =>
      makeAll(names, `${data}.new`, workspace, detail, signal),
    );
    await rename(`${data}.new`, data);
  }
  await using registry = await startRegistry(await workspace.directory('check'), data);
  const images: Image[] = [];
  for (const name of names) {
    const manifest = await getManifest(registry.host, name, 'esgz');
    if (manifest === undefined) throw new Error(`Image ${name}:esgz is missing in ${data}: remove that directory`);
    images.push(imageOf(`${name}:esgz`, manifest));
  }
  const plain: Image[] = [];
  for (const name of ['bench/layers', 'bench/large']) {
    const manifest = await getManifest(registry.host, name, 'plain');
    if (manifest === undefined) throw new Error(`Image ${name}:plain is missing in ${data}: remove that directory`);
    plain.push(imageOf(`${name}:plain`, manifest));
  }
  return { data, images, plain };
}

async function makeAll(
  names: readonly string[],
  data: string,
  workspace: Workspace,
  detail: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  await using registry = await startRegistry(await workspace.directory('make'), data);
  for (const name of names) {
    signal.throwIfAborted();
    detail(name);
    const directory = await workspace.directory('image');
    const layers = name === 'bench/layers' ? await makeLayers(directory, small) : [await makeSmall(directory, name)];
    await pushImage(registry.host, name, 'plain', layers);
    const args = ['convert', `${registry.host}/${name}:plain`, `${registry.host}/${name}:esgz`];
    await run(join(repository, 'bin', 'lazypull'), args, { signal });
    await rm(directory, { recursive: true });
  }
  detail('bench/large');
  const directory = await workspace.directory('image');
  await pushImage(registry.host, 'bench/large', 'plain', await makeLayers(directory, large));
  await rm(directory, { recursive: true });
}

interface LayersShape {
  readonly count: number;
  readonly files: number;
  readonly fileBytes: number;
}

const small: LayersShape = { count: layerCount, files: layerFiles, fileBytes: layerFileBytes };
const large: LayersShape = { count: largeLayerCount, files: largeFiles, fileBytes: largeFileBytes };

async function makeLayers(directory: string, { count, files, fileBytes }: LayersShape): Promise<GzipLayer[]> {
  const layers: GzipLayer[] = [];
  for (let index = 0; index < count; index++) {
    const root = join(directory, `layer-${index}`);
    if (index === 0) await addBusybox(root);
    await addNoise(root, `data/layer-${index}`, files, fileBytes);
    if (fileBytes === largeFileBytes) await addText(root, `data/text-${index}`, files + files / 2, fileBytes);
    layers.push(await packLayer(root));
  }
  return layers;
}

async function makeSmall(directory: string, name: string): Promise<GzipLayer> {
  const root = join(directory, 'root');
  await addBusybox(root);
  await addNoise(root, `data/${name}`, manyFiles, manyFileBytes);
  await rename(join(root, 'data', name), join(root, 'files'));
  return packLayer(root);
}

async function addBusybox(root: string): Promise<void> {
  for (const name of ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp']) await mkdir(join(root, name), { recursive: true });
  await copyProgram(systemTool('busybox'), root, join('bin', 'busybox'));
  for (const applet of applets) await symlink('busybox', join(root, 'bin', applet));
}

/** Files that do not compress and that depend on their names alone. */
async function addNoise(root: string, path: string, files: number, bytes: number): Promise<void> {
  await mkdir(join(root, path), { recursive: true });
  for (let index = 0; index < files; index++) {
    const key = createHash('sha256').update(`${path} ${index}`).digest();
    const cipher = createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16));
    await writeFile(join(root, path, `file-${index}`), cipher.update(Buffer.alloc(bytes)));
  }
}

/** Files that compress to a third or so. */
async function addText(root: string, path: string, files: number, bytes: number): Promise<void> {
  await mkdir(join(root, path), { recursive: true });
  for (let index = 0; index < files; index++) {
    let text = '';
    for (let line = 0; text.length < bytes; line++) {
      text += `${createHash('md5').update(`${path} ${index} ${line}`).digest('hex')} is in line ${line} of ${path}\n`;
    }
    await writeFile(join(root, path, `file-${index}`), text);
  }
}

async function packLayer(root: string): Promise<GzipLayer> {
  const flags = ['--numeric-owner', '--sort=name', '--format=pax', '--mtime=@0'];
  await run('tar', [...flags, '-C', root, '-cf', `${root}.tar`, ...(await readdir(root)).sort()]);
  return gzipLayer(`${root}.tar`, `${root}.tar.gz`);
}

function imageOf(name: string, { config, layers }: Pick<BaseImage['manifest'], 'config' | 'layers'>): Image {
  return { name, layers, bytes: layers.reduce((sum, { size }) => sum + size, config.size) };
}
