import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Builder, Lab } from '../support/lab.ts';
import { getManifest } from '../support/push-image.ts';
import { assertSameTree, describeTree, withoutRoot } from '../support/tree.ts';

/** Every build of it gives the same bytes when times are rewritten. */
const dockerfile = `ARG BASE
FROM \${BASE} AS source
FROM \${BASE}
RUN echo hello > /hello.txt && echo more >> /data/many/file-1 && rm -r /data/many/file-3 /data/opaque && mkdir /data/opaque
COPY --from=source /data/many/file-5 /data/kinds/xattrs /copied/
`;
const epoch = '1600000000';
const files = ['tar', 'oci', 'docker'] as const;
/** Each makes every layer again, and needs the blobs of the base for that. */
const compressions = ['zstd', 'uncompressed', 'estargz'] as const;

let lab: Lab;
let context: string;
let expected: Exports;

/** What the builds of one builder gave: the digests of files and images, and the tree of a directory. */
interface Exports {
  readonly files: Record<string, string>;
  readonly tree: string[];
  readonly pushed: string;
  readonly compressed: Record<string, string>;
}

before(async () => {
  lab = await Lab.open();
  context = await lab.context('exports', dockerfile);
  await using builder = await lab.builder('pulled', 'oci', false);
  const written = await exportFiles(builder, 'pulled');
  expected = { ...written, pushed: await push(builder, 'pulled'), compressed: await pushCompressed(builder, 'pulled') };
});
after(() => lab[Symbol.asyncDispose]());

for (const kind of ['oci', 'containerd'] as const) {
  describe(`From a lazy base, the ${kind} worker`, () => {
    let builder: Builder;
    before(async () => {
      builder = await lab.builder(`lazy-${kind}`, kind);
    });
    after(() => builder[Symbol.asyncDispose]());

    test('pushes to a registry that has the layers of the base without fetching them', async () => {
      const since = lab.relay.requests.length;
      assert.equal(await push(builder, kind), expected.pushed);
      assert.deepEqual(lab.pulls(since), []);
    });

    test('attests how an image was made, a bare base too, without fetching it', async () => {
      const since = lab.relay.requests.length;
      const bare = await lab.context('bare', 'ARG BASE\nFROM ${BASE}\n');
      for (const from of [context, bare]) {
        const output = `type=image,name=${lab.reference(`built:attested-${kind}`)},push=true,store=false,oci-mediatypes=true`;
        const args = ['--opt', 'attest:provenance=mode=max'];
        await builder.buildkitd.build({ context: from, buildArgs: buildArgs(), args, output });
        assert.deepEqual(await attestations(`attested-${kind}`), ['https://slsa.dev/provenance/v1']);
      }
      assert.deepEqual(lab.pulls(since), []);
    });

    test('writes tar, directory, OCI and Docker archives at once, the same bytes as from a pulled base', async () => {
      const since = lab.relay.requests.length;
      const { files, tree } = await exportFiles(builder, kind);
      assert.deepEqual(files, expected.files);
      assertSameTree(tree, expected.tree);
      assert.equal(lab.pulls(since).length, lab.base.layers.length, 'an archive needs the blob of every layer, once');
    });

    if (kind === 'containerd') {
      test('keeps an image whole and unpacked if it is to be run', async () => {
        const name = lab.reference('built:unpacked');
        await builder.buildkitd.build({
          context,
          buildArgs: buildArgs(),
          output: `type=image,name=${name},unpack=true`,
        });
        const ctr = (...args: string[]) => builder.containerd?.ctr('--namespace', 'buildkit', ...args);
        const checked = await ctr('images', 'check', '--snapshotter', 'stargz', `name==${name}`);
        assert.match(checked ?? '', /complete \((\d+)\/\1\).* true *$/m);
      });
    }

    test('pushes the same images in other compressions', async () => {
      assert.deepEqual(await pushCompressed(builder, kind), expected.compressed);
    });
  });
}

/** Pushes the image next to the base. Gives the digest of the manifest. */
async function push(builder: Builder, tag: string): Promise<string> {
  return build(builder, tag);
}

async function pushCompressed(builder: Builder, name: string): Promise<Record<string, string>> {
  const digests: Record<string, string> = {};
  for (const compression of compressions) {
    digests[compression] = await build(
      builder,
      `${name}-${compression}`,
      `,compression=${compression},force-compression=true`,
    );
  }
  return digests;
}

async function build(builder: Builder, tag: string, options = ''): Promise<string> {
  const image = `type=image,name=${lab.reference(`built:${tag}`)},push=true,store=false,oci-mediatypes=true,rewrite-timestamp=true`;
  await builder.buildkitd.build({ context, buildArgs: buildArgs(), output: `${image}${options}` });
  return (await getManifest(lab.relay.host, 'built', tag))?.digest ?? assert.fail('Nothing was pushed');
}

async function exportFiles(builder: Builder, name: string): Promise<Pick<Exports, 'files' | 'tree'>> {
  const directory = join(lab.workspace.path, 'exported', name);
  await mkdir(directory, { recursive: true });
  const output = files.map(
    (type) => `type=${type},dest=${join(directory, type)}${type === 'tar' ? '' : ',rewrite-timestamp=true'}`,
  );
  const local = join(directory, 'local');
  await builder.buildkitd.build({ context, buildArgs: buildArgs(), output: [...output, `type=local,dest=${local}`] });
  const digests: Record<string, string> = {};
  for (const type of files) digests[type] = hash('sha256', await readFile(join(directory, type)));
  return { files: digests, tree: withoutRoot(await describeTree(local)) };
}

/** What the attestations of the image are about: the predicate types that its index leads to. */
async function attestations(tag: string): Promise<unknown[]> {
  const get = async (path: string): Promise<IndexOrManifest> => {
    const accept = 'application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json';
    return (await (
      await fetch(`http://${lab.relay.host}/v2/built/manifests/${path}`, { headers: { accept } })
    ).json()) as IndexOrManifest;
  };
  const { manifests = [] } = await get(tag);
  const attested = manifests.filter(
    ({ annotations }) => annotations?.['vnd.docker.reference.type'] === 'attestation-manifest',
  );
  const found = await Promise.all(attested.map(({ digest }) => get(digest)));
  return found.flatMap(({ layers = [] }) =>
    layers.map(({ annotations }) => annotations?.['in-toto.io/predicate-type']),
  );
}

interface IndexOrManifest {
  readonly manifests?: readonly Described[];
  readonly layers?: readonly Described[];
}

interface Described {
  readonly digest: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

function buildArgs() {
  return { BASE: lab.reference('base:esgz'), SOURCE_DATE_EPOCH: epoch };
}
