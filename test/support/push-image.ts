import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';

/** A blob on its way into an image. */
interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A gzip layer on disk: the compressed file, and the digest of the tar in it. */
export interface GzipLayer {
  readonly path: string;
  readonly diffId: string;
}

/** A manifest as the registry has it. */
export interface Manifest {
  readonly digest: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const configType = 'application/vnd.oci.image.config.v1+json';
const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip';

/** Compresses a tar to `path`, whole or not at all. */
export async function gzipLayer(tar: string, path: string): Promise<GzipLayer> {
  const hash = createHash('sha256');
  const source = createReadStream(tar, { highWaterMark: 1024 * 1024 });
  source.on('data', (bytes) => hash.update(bytes));
  await pipeline(source, createGzip({ chunkSize: 1024 * 1024 }), createWriteStream(`${path}.part`));
  await rename(`${path}.part`, path);
  return { path, diffId: `sha256:${hash.digest('hex')}` };
}

/** Pushes an image of the given layers, the lowest first, as `host/repository:tag`. Gives the manifest's digest. */
export async function pushImage(
  host: string,
  repository: string,
  tag: string,
  layers: readonly GzipLayer[],
): Promise<string> {
  const pushed: Descriptor[] = [];
  for (const { path } of layers) pushed.push({ mediaType: layerType, ...(await pushFile(host, repository, path)) });
  const config = {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'] },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  };
  const body = Buffer.from(JSON.stringify(config));
  const configDescriptor = { mediaType: configType, ...(await pushBytes(host, repository, body)) };
  const manifest = { schemaVersion: 2, mediaType: manifestType, config: configDescriptor, layers: pushed };
  return putManifest(host, repository, tag, JSON.stringify(manifest), manifestType);
}

/** Gives the image `host/repository:from` a second tag. */
export async function tagImage(host: string, repository: string, from: string, tag: string): Promise<void> {
  const answer = await expectOk(fetchManifest(host, repository, from));
  await putManifest(host, repository, tag, await answer.text(), answer.headers.get('content-type') ?? manifestType);
}

/** The manifest of `host/repository:tag`, or undefined if there is none. Takes the only image of an index. */
export async function getManifest(host: string, repository: string, tag: string): Promise<Manifest | undefined> {
  const answer = await fetchManifest(host, repository, tag);
  if (answer.status === 404) return undefined;
  const body = (await (await expectOk(Promise.resolve(answer))).json()) as Omit<Manifest, 'digest'>;
  return { ...body, digest: answer.headers.get('docker-content-digest') ?? '' };
}

function fetchManifest(host: string, repository: string, tag: string): Promise<Response> {
  return fetch(`http://${host}/v2/${repository}/manifests/${tag}`, {
    headers: { Accept: `${manifestType}, application/vnd.docker.distribution.manifest.v2+json` },
  });
}

async function putManifest(host: string, repository: string, tag: string, body: string, type: string): Promise<string> {
  const url = `http://${host}/v2/${repository}/manifests/${tag}`;
  const answer = await expectOk(fetch(url, { method: 'PUT', headers: { 'Content-Type': type }, body }));
  return answer.headers.get('docker-content-digest') ?? '';
}

async function pushFile(host: string, repository: string, path: string): Promise<Pick<Descriptor, 'digest' | 'size'>> {
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(path)) hash.update(bytes as Buffer);
  const digest = `sha256:${hash.digest('hex')}`;
  const { size } = await stat(path);
  await upload(
    host,
    repository,
    digest,
    size,
    () => Readable.toWeb(createReadStream(path)) as unknown as ReadableStream,
  );
  return { digest, size };
}

async function pushBytes(
  host: string,
  repository: string,
  bytes: Buffer,
): Promise<Pick<Descriptor, 'digest' | 'size'>> {
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  await upload(host, repository, digest, bytes.length, () => new Blob([bytes]).stream() as unknown as ReadableStream);
  return { digest, size: bytes.length };
}

async function upload(
  host: string,
  repository: string,
  digest: string,
  size: number,
  body: () => ReadableStream,
): Promise<void> {
  const known = await fetch(`http://${host}/v2/${repository}/blobs/${digest}`, { method: 'HEAD' });
  if (known.ok) return;
  const started = await expectOk(fetch(`http://${host}/v2/${repository}/blobs/uploads/`, { method: 'POST' }));
  const location = new URL(started.headers.get('location') ?? '', `http://${host}`);
  location.searchParams.set('digest', digest);
  await expectOk(
    fetch(location, {
      method: 'PUT',
      headers: { 'Content-Type': 'application/octet-stream', 'Content-Length': String(size) },
      body: body(),
      duplex: 'half',
    }),
  );
}

async function expectOk(answering: Promise<Response>): Promise<Response> {
  const answer = await answering;
  if (!answer.ok) throw new Error(`${answer.url} answered ${answer.status}: ${await answer.text()}`);
  return answer;
}
