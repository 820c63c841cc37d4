import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { platformText, thisPlatform } from '../../src/images/platforms.ts';
import { type Containerd, startContainerd } from '../support/containerd.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { Lab } from '../support/lab.ts';
import { run, tryRun } from '../support/program.ts';
import { buildTar } from '../support/tar-builder.ts';
import { repository } from '../support/tools.ts';

let lab: Lab;
let daemon: Daemon;
let containerd: Containerd;

before(async () => {
  lab = await Lab.open();
  daemon = await startDaemon(join(lab.workspace.path, 'lp'));
  containerd = await startContainerd(join(lab.workspace.path, 'cd'), daemon.socket);
});
after(async () => {
  await containerd?.[Symbol.asyncDispose]();
  await daemon?.[Symbol.asyncDispose]();
  await lab?.[Symbol.asyncDispose]();
});

function pull(image: string, ...options: string[]) {
  const command = join(repository, 'bin', 'lazypull');
  return tryRun(command, ['pull', '--json', '--address', containerd.address, '--namespace', 'lp', ...options, image]);
}

const ctr = (...args: string[]) => containerd.ctr('--namespace', 'lp', ...args);

test('lazypull pull makes an image known to containerd, which reads it without any of its layers', async () => {
  const image = lab.reference('base:esgz');
  const since = lab.relay.requests.length;
  const { status, stdout, stderr } = await pull(image);
  assert.equal(status, 0, stderr);
  const events = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    events.map(({ event, name, digest, wasThere }) => ({ event, name, digest, wasThere })),
    [
      ...lab.base.layers.map(({ digest }) => ({ event: 'layer', name: undefined, digest, wasThere: false })),
      { event: 'image', name: image, digest: lab.base.digest, wasThere: undefined },
    ],
  );

  // The garbage collection keeps what the image needs: a removal that waits for it shows that.
  await ctr('images', 'tag', image, 'other:1');
  await ctr('images', 'rm', '--sync', 'other:1');
  const target = join(lab.workspace.path, 'mnt');
  await mkdir(target);
  await ctr('images', 'mount', '--snapshotter', 'stargz', image, target);
  try {
    assert.equal(await readFile(join(target, 'etc', 'group'), 'utf8'), 'root:x:0:\n');
    assert.deepEqual(await readdir(join(target, 'data', 'opaque')), ['shown']);
  } finally {
    await run('umount', [target]);
  }
  assert.deepEqual(lab.pulls(since), [], 'containerd pulled a layer');
  const kept = (await ctr('content', 'ls', '--quiet')).trim().split('\n').sort();
  assert.deepEqual(kept, [lab.base.digest, lab.base.config.digest].sort());
  assert.doesNotMatch(await ctr('leases', 'ls', '--quiet'), /lazypull/);

  const again = await pull(image);
  assert.equal(again.status, 0, again.stderr);
  assert.match(again.stdout, /"wasThere":true/);
});

test('lazypull pull --platform refuses an image in no index that is for another one, and reads its configuration once', async () => {
  const image = lab.reference('base:esgz');
  const other = await pull(image, '--platform', 'linux/s390x');
  assert.equal(other.status, 1);
  assert.match(other.stderr, /has no platform "linux\/s390x": it is a single image for linux\/\w+/);
  const since = lab.relay.requests.length;
  const own = await pull(image, '--platform', platformText(thisPlatform));
  assert.equal(own.status, 0, own.stderr);
  const read = lab.relay.requests.slice(since).filter(({ path }) => path.includes(lab.base.config.digest));
  assert.equal(read.length, 1);
});

test('lazypull pull of an unmodified image has the daemon pull its layers', async () => {
  const { status, stderr } = await pull(lab.reference('base:plain'));
  assert.equal(status, 0, stderr);
  assert.match(await ctr('images', 'ls', '--quiet'), /base:plain/);
  assert.doesNotMatch(await ctr('leases', 'ls', '--quiet'), /lazypull/);
  const nobody = await tryRun(join(repository, 'bin', 'lazypull'), [
    'pull',
    '--address',
    '/nonexistent/cd.sock',
    lab.reference('base:esgz'),
  ]);
  assert.equal(nobody.status, 1);
  assert.match(nobody.stderr, /^lazypull: Cannot reach the containerd at "\/nonexistent\/cd\.sock": ENOENT\nhint: /);
});

test('lazypull pull chooses of an index what containerd runs, or says that containerd would fail', async () => {
  const own = { os: 'linux', architecture: thisPlatform.architecture };
  const { digest } = lab.base;
  const type = 'application/vnd.oci.image.manifest.v1+json';
  const size = (await fetchBytes(`base/manifests/${digest}`, type)).length;
  const base = { mediaType: type, digest, size };
  const config = JSON.stringify({ os: 'linux', architecture: 's390x', rootfs: { type: 'layers', diff_ids: null } });
  const other = await pushManifest('base', undefined, type, {
    schemaVersion: 2,
    mediaType: type,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...(await pushBlob('base', config)) },
    layers: null,
  });
  const indexType = 'application/vnd.oci.image.index.v1+json';
  const pushIndex = (tag: string, ...manifests: object[]) =>
    pushManifest('base', tag, indexType, { schemaVersion: 2, mediaType: indexType, manifests });
  const inner = await pushIndex('inner', { ...base, platform: own });
  // The third field of "ctr github.com/containerd/containerd/v2 2.2.9+unknown".
  const [major = 0, minor = 0] = (await ctr('--version')).split(' ')[2]!.replace(/^v/, '').split('.').map(Number);
  const ignoresFeatures = major < 2 || (major === 2 && minor < 3);
  const indexes: Record<string, object[]> = {
    variant: [
      { ...other, platform: { ...own, variant: 'v2' } },
      { ...base, platform: own },
    ],
    features: [
      { ...other, platform: { ...own, 'os.features': ['nobody-has-this'] } },
      { ...base, platform: own },
    ],
    spelled: [
      { ...base, platform: { os: 'Linux', architecture: own.architecture === 'amd64' ? 'x86_64' : 'aarch64' } },
    ],
    nested: [{ ...other, platform: { os: 'linux', architecture: 's390x' } }, inner],
    unnamed: [{ ...other, platform: { os: 'unknown', architecture: 'unknown' } }, base],
    wrong: [other, base],
  };
  for (const [tag, manifests] of Object.entries(indexes)) {
    await pushIndex(tag, ...manifests);
    const image = lab.reference(`base:${tag}`);
    const { status, stderr } = await pull(image);
    if (tag === 'wrong' || (tag === 'features' && ignoresFeatures)) {
      assert.equal(status, 1);
      assert.match(stderr, new RegExp(`containerd would take instead, and fail; pull ".*@${digest}"`));
      continue;
    }
    assert.equal(status, 0, `${tag}: ${stderr}`);
    const target = join(lab.workspace.path, `mnt-${tag}`);
    await mkdir(target);
    await ctr('images', 'mount', '--snapshotter', 'stargz', image, target);
    try {
      assert.equal(await readFile(join(target, 'etc', 'group'), 'utf8'), 'root:x:0:\n', tag);
    } finally {
      await run('umount', [target]);
    }
  }
});

test('lazypull pull keeps the layers below one that is left to containerd, and says what pulls the rest', async () => {
  const tars = [
    buildTar([{ name: 'below', data: Buffer.from('below') }]),
    buildTar([
      { name: 'd/', typeflag: '5', mode: 0o755 },
      { name: 'link', typeflag: '2', linkName: 'd' },
      { name: 'link/file' },
    ]),
    buildTar([{ name: 'above', data: Buffer.from('above') }]),
  ];
  const layers = [];
  const mediaType = 'application/vnd.oci.image.layer.v1.tar';
  for (const tar of tars) layers.push({ mediaType, ...(await pushBlob('base', tar)) });
  const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) };
  const config = JSON.stringify({ os: 'linux', architecture: thisPlatform.architecture, rootfs });
  await pushManifest('base', 'linked', 'application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...(await pushBlob('base', config)) },
    layers,
  });
  const image = lab.reference('base:linked');
  const { status, stdout, stderr } = await pull(image);
  assert.equal(status, 1);
  assert.match(stdout, new RegExp(layers[0]!.digest));
  assert.match(stderr, /Cannot read layer 2 of 3 /);
  assert.match(
    stderr,
    /\nhint: "ctr images pull --snapshotter stargz .*" pulls it, and asks for the 1 above it; it takes the 1 below/,
  );
  await ctr('images', 'pull', '--local', '--plain-http', '--snapshotter', 'stargz', image);
  const target = join(lab.workspace.path, 'mnt-linked');
  await mkdir(target);
  await ctr('images', 'mount', '--snapshotter', 'stargz', image, target);
  try {
    assert.deepEqual((await readdir(target)).toSorted(), ['above', 'below', 'd', 'link']);
    assert.deepEqual(await readdir(join(target, 'd')), ['file']);
  } finally {
    await run('umount', [target]);
  }
  for (const lease of (await ctr('leases', 'ls', '--quiet')).trim().split('\n')) await ctr('leases', 'rm', lease);
});

test('lazypull pull says which of containerd and the daemon does not serve', async () => {
  const image = lab.reference('base:esgz');
  await daemon.program.stop('SIGTERM');
  const { status, stderr } = await pull(image, '--namespace', 'other');
  assert.equal(status, 1);
  assert.match(
    stderr,
    new RegExp(`^lazypull: Cannot reach the daemon at "${daemon.socket}", which the containerd at `),
  );
  assert.match(stderr, new RegExp(`\nhint: start it: lazypull daemon --address ${daemon.socket}\n$`));
  const named = await pull(image, '--snapshotter', 'nope');
  assert.match(named.stderr, /^lazypull: Cannot find the snapshotter "nope" in the containerd at /);
});

async function fetchBytes(path: string, accept: string): Promise<Buffer> {
  const answer = await fetch(`http://${lab.relay.host}/v2/${path}`, { headers: { accept } });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return Buffer.from(await answer.arrayBuffer());
}

async function pushBlob(name: string, text: string | Buffer): Promise<{ digest: string; size: number }> {
  const digest = `sha256:${hash('sha256', text)}`;
  const started = await fetch(`http://${lab.relay.host}/v2/${name}/blobs/uploads/`, { method: 'POST' });
  const url = new URL(started.headers.get('location') ?? '', `http://${lab.relay.host}`);
  url.searchParams.set('digest', digest);
  assert.equal((await fetch(url, { method: 'PUT', body: Buffer.from(text) })).status, 201);
  return { digest, size: text.length };
}

async function pushManifest(name: string, tag: string | undefined, mediaType: string, manifest: object) {
  const body = JSON.stringify(manifest);
  const digest = `sha256:${hash('sha256', body)}`;
  const url = `http://${lab.relay.host}/v2/${name}/manifests/${tag ?? digest}`;
  const answer = await fetch(url, { method: 'PUT', headers: { 'content-type': mediaType }, body });
  assert.equal(answer.status, 201, await answer.text());
  return { mediaType, digest, size: body.length };
}
