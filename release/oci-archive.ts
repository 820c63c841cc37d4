import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../test/support/program.ts';
import type { Effort } from './tarball.ts';
import { type Architecture, settle } from './tree.ts';

/** What makes a tar the same each time that it is made of the same files. */
const order = ['--sort=name', '--format=gnu', '--owner=0', '--group=0', '--numeric-owner'];

/** A layer that is to be: a directory with the tree below the root of an image, and what made it, for the history. */
export interface LayerTree {
  readonly root: string;
  readonly createdBy: string;
}

/** What an image is besides its layers. */
export interface ImageSpec {
  readonly architecture: Architecture;
  /** Name and tag, for those that load the archive. */
  readonly name: string;
  readonly tag: string;
  /** As the image specification has it. */
  readonly config: object;
  /** Of the image, in seconds since 1970. The files of the layers have a time already. */
  readonly epoch: number;
}

/**
 * Writes an image as an archive in the layout of OCI (image specification, image-layout.md), which skopeo, Podman and
 * Docker take. It has the manifest of Docker's own archives too, for a Docker whose images are not in containerd.
 *
 * @param layers the lowest first
 * @param work an empty directory
 */
export async function writeArchive(
  spec: ImageSpec,
  layers: readonly LayerTree[],
  work: string,
  path: string,
  effort: Effort,
): Promise<void> {
  const created = new Date(spec.epoch * 1000).toISOString().replace('.000', '');
  const blobs = join(work, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  const made: MadeLayer[] = [];
  for (const { root } of layers) made.push(await makeLayer(root, blobs, effort));
  const config = await writeJson(blobs, 'application/vnd.oci.image.config.v1+json', {
    created,
    architecture: spec.architecture,
    os: 'linux',
    config: spec.config,
    rootfs: { type: 'layers', diff_ids: made.map(({ diffId }) => diffId) },
    history: layers.map(({ createdBy }) => ({ created, created_by: createdBy })),
  });
  const manifest = await writeJson(blobs, 'application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers: made.map(({ descriptor }) => descriptor),
  });
  const fullName = `docker.io/library/${spec.name}:${spec.tag}`;
  const annotations = { 'io.containerd.image.name': fullName, 'org.opencontainers.image.ref.name': spec.tag };
  const platform = { architecture: spec.architecture, os: 'linux' };
  const files: Readonly<Record<string, object>> = {
    'oci-layout': { imageLayoutVersion: '1.0.0' },
    'index.json': {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [{ ...manifest, annotations, platform }],
    },
    'manifest.json': [
      {
        Config: pathOf(config),
        RepoTags: [`${spec.name}:${spec.tag}`],
        Layers: made.map(({ descriptor }) => pathOf(descriptor)),
      },
    ],
  };
  for (const [name, value] of Object.entries(files)) await writeFile(join(work, name), JSON.stringify(value));
  await settle(work, spec.epoch);
  await run('tar', [...order, '--directory', work, '--create', '--file', path, 'blobs', ...Object.keys(files)]);
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

interface MadeLayer {
  readonly descriptor: Descriptor;
  /** The digest of the layer as a tar. */
  readonly diffId: string;
}

async function makeLayer(root: string, blobs: string, effort: Effort): Promise<MadeLayer> {
  const tar = join(blobs, 'layer.tar');
  await run('tar', [...order, '--directory', root, '--create', '--file', tar, ...(await readdir(root)).toSorted()]);
  const diffId = await digestOf(tar);
  await run('gzip', ['--no-name', effort === 'quick' ? '-1' : '-9', tar]);
  return { descriptor: await keep(blobs, `${tar}.gz`, 'application/vnd.oci.image.layer.v1.tar+gzip'), diffId };
}

async function writeJson(blobs: string, mediaType: string, value: object): Promise<Descriptor> {
  const path = join(blobs, 'new.json');
  await writeFile(path, JSON.stringify(value));
  return keep(blobs, path, mediaType);
}

/** Gives a file the name that it has as a blob. */
async function keep(blobs: string, path: string, mediaType: string): Promise<Descriptor> {
  const digest = await digestOf(path);
  const { size } = await stat(path);
  await rm(join(blobs, digest.slice('sha256:'.length)), { force: true });
  await rename(path, join(blobs, digest.slice('sha256:'.length)));
  return { mediaType, digest, size };
}

function pathOf({ digest }: Descriptor): string {
  return `blobs/${digest.replace(':', '/')}`;
}

async function digestOf(path: string): Promise<string> {
  const digest = createHash('sha256');
  for await (const piece of createReadStream(path)) digest.update(piece as Buffer);
  return `sha256:${digest.digest('hex')}`;
}
