import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { hostsFiles } from '../../src/setup/mirror-files.ts';
import { startContainerd } from '../support/containerd.ts';
import { startDaemon } from '../support/daemon.ts';
import { type Builder, Lab } from '../support/lab.ts';
import { freePort } from '../support/ports.ts';
import { run } from '../support/program.ts';
import { repository } from '../support/tools.ts';

const dockerfile = `ARG BASE
FROM \${BASE}
RUN echo hello > /hello.txt && cat /data/many/file-7 /data/many/file-300 > /dev/null
`;

/**
 * Heads of the parts of multipart answers, and what is asked for to learn the size of a blob, of what one build moves.
 */
const overheadBytes = 8 << 10;

/** Nothing is fetched before it is read. */
const onDemand = 'noprefetch = true\nno_background_fetch = true\n';

let lab: Lab;
let context: string;
/** What a build on a pulled base moves, and the archive that it writes. */
let pulled: { bytes: number; archive: string };

before(async () => {
  lab = await Lab.open();
  context = await lab.context('mirror', dockerfile);
  await using builder = await lab.builder('pulled', 'oci', false);
  const since = lab.relay.requests.length;
  await build(builder);
  const archive = await exportImage(builder, 'pulled');
  pulled = { bytes: lab.relay.traffic(/^/, since).bytes, archive };
});
after(() => lab[Symbol.asyncDispose]());

for (const kind of ['oci', 'containerd'] as const) {
  describe(`With the ${kind} worker and the mirror`, () => {
    let builder: Builder;
    let since: number;
    before(async () => {
      const port = await freePort();
      const mirrors = `[registry."${lab.relay.host}"]\n  mirrors = ["127.0.0.1:${port}"]\n`;
      const toml = `${kind === 'oci' ? onDemand : ''}[mirror]\naddress = "127.0.0.1:${port}"\n`;
      builder = await lab.builder(`mirror-${kind}`, kind, true, toml, mirrors);
      since = lab.relay.requests.length;
    });
    after(() => builder[Symbol.asyncDispose]());

    test('a build is lazy', async () => {
      await build(builder);
      assert.deepEqual(lab.pulls(since), []);
      if (kind === 'oci') assert.ok(lab.relay.traffic(/^/, since).bytes < pulled.bytes / 2, 'most was fetched');
    });

    test('a lazy build and the export of its image move no more bytes than a build on a pulled base, and give the same', async () => {
      const archive = await exportImage(builder, kind);
      assert.equal(archive, pulled.archive);
      const { bytes } = lab.relay.traffic(/^/, since);
      assert.ok(bytes <= pulled.bytes + overheadBytes, `${bytes} bytes instead of ${pulled.bytes}`);
      assert.deepEqual(lab.pulls(since), [], 'BuildKit fetched a layer past the mirror');
    });
  });
}

test('containerd fetches the content of a lazy image through the mirror, and only what is missing of it', async () => {
  const port = await freePort();
  const directory = join(lab.workspace.path, 'containerd-alone');
  // The daemon reads the same hosts.toml as containerd, and must not ask itself.
  const resolver = `[resolver]\nconfig_path = ${JSON.stringify(join(directory, 'certs.d'))}\n`;
  const toml = `${onDemand}[mirror]\naddress = "127.0.0.1:${port}"\n${resolver}`;
  await using daemon = await startDaemon(join(directory, 'lp'), 'debug', toml);
  await using containerd = await startContainerd(join(directory, 'cd'), daemon.socket);
  const certs = join(directory, 'certs.d', lab.relay.host);
  await mkdir(certs, { recursive: true });
  const server = `server = "http://${lab.relay.host}"\n`;
  await writeFile(
    join(certs, 'hosts.toml'),
    server + hostsFiles('', { address: `127.0.0.1:${port}`, registries: [] })[0]!.snippet,
  );
  const since = lab.relay.requests.length;
  await containerd.ctr('content', 'fetch', '--hosts-dir', join(directory, 'certs.d'), lab.reference('base:esgz'));
  const { bytes } = lab.relay.traffic(/^/, since);
  const blobBytes = lab.base.layers.reduce((sum, { size }) => sum + size, 0);
  assert.ok(bytes < blobBytes + overheadBytes, `${bytes} bytes for blobs of ${blobBytes}`);
  assert.deepEqual(lab.pulls(since), []);
  const image = await mkdtemp(join(directory, 'image-'));
  const before = lab.relay.requests.length;
  await run(join(repository, 'bin', 'lazypull'), ['pull', lab.reference('base:esgz'), '--address', containerd.address]);
  await containerd.ctr('images', 'mount', '--snapshotter', 'stargz', lab.reference('base:esgz'), image);
  try {
    assert.equal((await readFile(join(image, 'data', 'many', 'file-7'))).length, (7 * 997) % 65_536);
    const more = lab.relay.requests.slice(before).filter(({ path }) => path.includes('/blobs/'));
    const layers = more.filter(({ path }) => lab.base.layers.some(({ digest }) => path.includes(digest)));
    assert.deepEqual(layers, [], 'a layer was asked for of which all is here');
    assert.doesNotMatch(daemon.program.output, /asking the next server/);
  } finally {
    await run('umount', [image]);
  }
});

/** A build that nothing is exported from. */
async function build({ buildkitd }: Builder): Promise<void> {
  await buildkitd.build({ context, buildArgs: buildArgs() });
}

/**
 * Exports the image of the build as an OCI archive, and checks that every blob in it has its digest. @returns the
 * archive's digest
 */
async function exportImage({ buildkitd }: Builder, name: string): Promise<string> {
  const directory = join(lab.workspace.path, 'archives', name);
  await mkdir(join(directory, 'tree'), { recursive: true });
  const archive = join(directory, 'image.tar');
  await buildkitd.build({ context, buildArgs: buildArgs(), output: `type=oci,dest=${archive},rewrite-timestamp=true` });
  await run('tar', ['-xf', archive, '-C', join(directory, 'tree')]);
  const at = (path: string) => join(directory, 'tree', path);
  const blobs = new Set<string>();
  const visit = async (digest: string): Promise<void> => {
    const bytes = await readFile(at(join('blobs', digest.replace(':', '/'))));
    assert.equal(`sha256:${hash('sha256', bytes)}`, digest);
    blobs.add(digest);
    if (bytes[0] !== 0x7b) return;
    const { manifests = [], layers = [], config } = JSON.parse(bytes.toString()) as IndexOrManifest;
    const isImage = layers.length > 0 && config !== undefined;
    for (const each of [...manifests, ...layers, ...(isImage ? [config] : [])]) await visit(each.digest);
  };
  const index = JSON.parse(await readFile(at('index.json'), 'utf8')) as IndexOrManifest;
  for (const { digest } of index.manifests ?? []) await visit(digest);
  for (const { digest } of lab.base.layers) assert.ok(blobs.has(digest), 'a layer of the base is missing');
  return hash('sha256', await readFile(archive));
}

interface IndexOrManifest {
  readonly manifests?: readonly { readonly digest: string }[];
  readonly layers?: readonly { readonly digest: string }[];
  readonly config?: { readonly digest: string };
}

function buildArgs() {
  return { BASE: lab.reference('base:esgz'), SOURCE_DATE_EPOCH: '1600000000' };
}
