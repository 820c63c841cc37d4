import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse as parseToml } from 'smol-toml';
import { clientSetups } from '../../../src/setup/client-setups.ts';

/** Tables as plain objects. */
const parse = (text: string): object => structuredClone(parseToml(text));

const places = { address: '/run/lp.sock', root: '/var/lib/lp' };
const { buildkit, containerd, docker } = clientSetups;

test('clientSetups give a buildkitd.toml the snapshotter called stargz, and its path without a scheme', () => {
  const text = buildkit.apply('[registry."localhost:5000"]\n  http = true\n', places);
  assert.deepEqual(parse(text), {
    registry: { 'localhost:5000': { http: true } },
    worker: { oci: { enabled: true, snapshotter: 'stargz', proxySnapshotterPath: '/run/lp.sock' } },
  });
  assert.deepEqual(parse(buildkit.snippet(places)), parse(buildkit.apply('', places)));
});

const plugin = {
  stargz: {
    type: 'snapshot',
    address: '/run/lp.sock',
    exports: { root: '/var/lib/lp', enable_remote_snapshot_annotations: 'true' },
  },
};

const unpacks = (...snapshotters: string[]) => ({
  'io.containerd.transfer.v1.local': {
    unpack_config: snapshotters.map((snapshotter) => ({ platform: 'linux', snapshotter, differ: 'walking' })),
  },
});

test('clientSetups give a containerd config the plugin, and unpack for it and for the default snapshotter', () => {
  const wanted = { version: 2, proxy_plugins: plugin, plugins: unpacks('overlayfs', 'stargz') };
  assert.deepEqual(parse(containerd.apply('', places)), wanted);
  assert.deepEqual(parse(containerd.snippet(places)), wanted);
  const old =
    'version = 2\n[proxy_plugins]\n  [proxy_plugins.stargz]\n    type = "snapshot"\n    address = "/old.sock"\n';
  assert.deepEqual(parse(containerd.apply(old, places)), wanted);
  const { version: _, ...unversioned } = wanted;
  const debug = '[debug]\n  level = "info"\n';
  assert.deepEqual(parse(containerd.apply(debug, places)), { debug: { level: 'info' }, ...unversioned });
});

for (const version of [2, 3, 4]) {
  test(`clientSetups keep the snapshotters that a containerd config of version ${version} unpacked for`, () => {
    const first = containerd.apply(`version = ${version}\n`, places);
    assert.deepEqual(parse(first), { version, proxy_plugins: plugin, plugins: unpacks('overlayfs', 'stargz') });
    assert.equal(containerd.apply(first, places), first);
    const other = `version = ${version}\n[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\n  platform = 'linux'\n  snapshotter = 'btrfs'\n`;
    const { plugins } = parse(containerd.apply(other, places)) as { plugins: ReturnType<typeof unpacks> };
    const listed = plugins['io.containerd.transfer.v1.local'].unpack_config;
    assert.deepEqual(
      listed.map(({ snapshotter }) => snapshotter),
      ['btrfs', 'stargz'],
    );
  });
}

test("clientSetups keep the keys of Docker's daemon.json, their order and the indentation", () => {
  const text = '{\n\t"dns": ["1.1.1.1"],\n\t"features": {"x": true},\n\t"storage-driver": "overlay2"\n}\n';
  const changed = docker.apply(text, places);
  assert.match(changed, /^\{\n\t"dns": \[\n\t\t"1\.1\.1\.1"/);
  assert.deepEqual(JSON.parse(changed), {
    dns: ['1.1.1.1'],
    features: { x: true, 'containerd-snapshotter': true },
    'storage-driver': 'stargz',
  });
  assert.equal(docker.apply(changed, places), changed);
  assert.throws(() => docker.apply('{"features": 1}', places), /"features" is not an object/);
  assert.throws(() => docker.apply('[]', places), /not a JSON object/);
  assert.match(docker.next(places).join('\n'), /^Docker from 29\.9 on .*: lazypull pull --namespace moby IMAGE$/m);
});
