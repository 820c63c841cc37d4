import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { LazypullError } from '../../../src/errors.ts';
import { chooseImage, type Documents } from '../../../src/images/choose.ts';
import { type Descriptor, parseIndex } from '../../../src/images/manifest.ts';
import { parsePlatform, platformText } from '../../../src/images/platforms.ts';

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const indexType = 'application/vnd.oci.image.index.v1+json';
const configType = 'application/vnd.oci.image.config.v1+json';

interface Member {
  mediaType: string;
  digest: string;
  size: number;
  platform?: object;
}

/** Documents in memory. */
class Store implements Documents {
  readonly read: string[] = [];
  readonly #documents = new Map<string, Buffer>();

  manifest({ digest }: Descriptor): Promise<Buffer> {
    return this.#get(digest);
  }

  config({ digest }: Descriptor): Promise<Buffer> {
    return this.#get(digest);
  }

  put(mediaType: string, document: object): Member {
    const bytes = Buffer.from(JSON.stringify(document));
    const digest = `sha256:${hash('sha256', bytes)}`;
    this.#documents.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  }

  image(platform: string | undefined, about: object, configMediaType = configType): Member {
    const config = this.put(configMediaType, about);
    const image = this.put(manifestType, {
      schemaVersion: 2,
      config,
      layers: [],
      annotations: { seed: `${platform}` },
    });
    return platform === undefined ? image : { ...image, platform: jsonOf(platform) };
  }

  index(...manifests: Member[]): Member {
    return this.put(indexType, { schemaVersion: 2, manifests });
  }

  async choose(platform: string, ...manifests: Member[]) {
    const index = parseIndex(Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })));
    return chooseImage(this, index, parsePlatform(platform));
  }

  async #get(digest: string): Promise<Buffer> {
    this.read.push(digest);
    const bytes = this.#documents.get(digest);
    if (bytes === undefined) throw new LazypullError('NotFound', `There is no ${digest}`);
    return bytes;
  }
}

function jsonOf(text: string): object {
  const [os, architecture, variant] = text.split('/');
  return { os, architecture, variant };
}

async function digestOf(choosing: ReturnType<Store['choose']>): Promise<string> {
  return (await choosing).path.at(-1)!.descriptor.digest;
}

test('chooseImage takes the best match of an index, not the first', async () => {
  const store = new Store();
  const named = (...platforms: string[]) => platforms.map((platform) => store.image(platform, {}));
  const chosen = async (platform: string, ...there: string[]) =>
    platformText((await store.choose(platform, ...named(...there))).platform);
  assert.equal(await chosen('linux/amd64', 'linux/386', 'linux/amd64/v2', 'linux/amd64'), 'linux/amd64');
  assert.equal(await chosen('linux/amd64/v3', 'linux/amd64', 'linux/amd64/v4', 'linux/amd64/v2'), 'linux/amd64/v2');
  assert.equal(await chosen('linux/amd64', 'linux/arm64', 'linux/386'), 'linux/386');
  assert.equal(await chosen('linux/arm64/v8', 'linux/arm/v7', 'linux/aarch64', 'linux/arm64/v9'), 'linux/aarch64');
  assert.equal(await chosen('arm64', 'linux/arm/v6', 'linux/arm/v7'), 'linux/arm/v7');
  await assert.rejects(chosen('linux/amd64', 'linux/amd64/v2', 'linux/arm64', 'unknown/unknown'), {
    code: 'NotFound',
    message: 'The image has no platform "linux/amd64": it has linux/amd64/v2, linux/arm64',
  });
});

test('chooseImage knows what containerd before 2.3 chooses, which ignores features of the system', async () => {
  const store = new Store();
  const own = store.image('linux/amd64', {});
  const special = { ...store.image('linux/amd64', { special: true }) };
  special.platform = { os: 'linux', architecture: 'amd64', 'os.features': ['nobody-has-this'] };
  const firsts = async (...members: Member[]) => {
    const choice = await store.choose('linux/amd64', ...members);
    assert.equal(choice.path.at(-1)!.descriptor.digest, own.digest);
    return [choice.isFirst, choice.isFirstWithoutFeatures];
  };
  assert.deepEqual(await firsts(special, own), [true, false]);
  assert.deepEqual(await firsts(own, special), [true, true]);
  assert.deepEqual(await firsts({ ...store.index(special, own), platform: jsonOf('linux/amd64') }), [true, false]);
});

test('chooseImage asks the configuration of an image without a platform, after those with one', async () => {
  const store = new Store();
  const arm = store.image(undefined, { os: 'linux', architecture: 'arm64', variant: 'v8' });
  const own = store.image(undefined, { os: 'linux', architecture: 'x86_64' });
  assert.equal(await digestOf(store.choose('linux/amd64', arm, own)), own.digest);
  assert.deepEqual([(await store.choose('linux/amd64', arm, own)).isFirst], [false]);
  assert.deepEqual([(await store.choose('linux/amd64', own, arm)).isFirst], [true]);
  assert.match(String((await store.choose('linux/amd64', own)).configuration), /x86_64/);
  const named = store.image('linux/386', {});
  assert.equal(await digestOf(store.choose('linux/amd64', own, named)), named.digest);
  await assert.rejects(store.choose('linux/s390x', arm, own), /it has linux\/arm64\/v8, linux\/x86_64/);
});

test('chooseImage looks into nested indexes, and skips members that are no images', async () => {
  const store = new Store();
  const image = store.image('linux/amd64', {});
  const nested = store.index(store.index(store.image('linux/arm64', {}), image));
  const soci = store.image('linux/amd64', {}, 'application/vnd.amazon.soci.index.v2+json');
  const attestation = { ...store.image('unknown/unknown', {}), annotations: { 'vnd.docker.reference.digest': 'x' } };
  const missing = { mediaType: manifestType, digest: `sha256:${'5'.repeat(64)}`, size: 5 };
  const schema1 = {
    ...store.put('application/vnd.docker.distribution.manifest.v1+prettyjws', {}),
    platform: image.platform!,
  };
  const members = [attestation, soci, schema1, missing, { ...missing, mediaType: 'text/plain' }, nested];
  const { path, isFirst, platform } = await store.choose('linux/amd64', ...members);
  assert.deepEqual(
    path.map(({ descriptor }) => descriptor.mediaType),
    [indexType, indexType, manifestType],
  );
  assert.equal(path.at(-1)!.descriptor.digest, image.digest);
  assert.deepEqual([isFirst, platformText(platform)], [false, 'linux/amd64']);
  const named = { ...store.index(image), platform: { os: 'linux', architecture: 'amd64' } };
  assert.equal((await store.choose('linux/amd64', store.image('linux/386', {}), named)).path.length, 2);
  await assert.rejects(store.choose('linux/amd64', { ...missing, platform: image.platform! }), /There is no/);
});

test('chooseImage bounds what an index makes it read', async () => {
  const store = new Store();
  const many = Array.from({ length: 100 }, (_, i) => store.image(undefined, { os: 'linux', architecture: `a${i}` }));
  await assert.rejects(store.choose('linux/amd64', ...many), { code: 'ResourceExhausted' });
  assert.ok(store.read.length <= 64);
  let nested = store.image('linux/amd64', {});
  for (let i = 0; i < 6; i++) nested = store.index(nested);
  await assert.rejects(store.choose('linux/amd64', nested), /nested more than 4 deep/);
});
