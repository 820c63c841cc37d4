import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse as parseToml } from 'smol-toml';
import { clientSetups } from '../../../src/setup/client-setups.ts';
import { checkRegistry, hostsFiles, withBuildkitMirror } from '../../../src/setup/mirror-files.ts';

/** Tables as plain objects. */
const parse = (text: string): object => structuredClone(parseToml(text));

const mirror = { address: '127.0.0.1:8235', registries: ['docker.io', 'localhost:5000'] };

test('withBuildkitMirror puts the mirror before existing ones, for each registry', () => {
  const text = '[registry."docker.io"] # the hub\n  http = false\n  mirrors = ["m.example"]\n';
  const changed = withBuildkitMirror(text, mirror);
  assert.match(changed, /^\[registry\."docker\.io"\] # the hub\n {2}http = false\n/);
  assert.deepEqual(parse(changed), {
    registry: {
      'docker.io': { http: false, mirrors: ['127.0.0.1:8235', 'm.example'] },
      'localhost:5000': { mirrors: ['127.0.0.1:8235'] },
    },
  });
  assert.equal(withBuildkitMirror(changed, mirror), changed);
  const elsewhere = withBuildkitMirror('', { address: '10.0.0.1:8235', registries: ['docker.io'] });
  assert.deepEqual(parse(elsewhere), {
    registry: { 'docker.io': { mirrors: ['10.0.0.1:8235'] }, '10.0.0.1:8235': { http: true } },
  });
});

test('withBuildkitMirror leaves a file alone that cannot be changed safely', () => {
  const several = '[registry."docker.io"]\n  mirrors = [\n    "m.example",\n  ]\n';
  assert.throws(() => withBuildkitMirror(several, mirror), { code: 'FailedPrecondition' });
});

test('hostsFiles put the mirror before other servers', () => {
  const [docker, local, ...others] = hostsFiles('/certs.d', mirror);
  assert.deepEqual(
    [docker?.file, local?.file],
    ['/certs.d/docker.io/hosts.toml', '/certs.d/localhost:5000/hosts.toml'],
  );
  assert.deepEqual(others, []);
  const capabilities = ['pull', 'resolve'];
  assert.deepEqual(parse(docker!.snippet), { host: { 'http://127.0.0.1:8235': { capabilities } } });
  assert.equal(docker!.apply(''), docker!.snippet);
  const text = 'server = "https://docker.io"\n\n# ours\n[host."https://m.example"]\n  skip_verify = true\n';
  const changed = docker!.apply(text);
  assert.deepEqual(Object.keys((parse(changed) as { host: object }).host), [
    'http://127.0.0.1:8235',
    'https://m.example',
  ]);
  assert.equal((parse(changed) as { server: string }).server, 'https://docker.io');
  assert.equal(docker!.apply(changed), changed);
  const [all] = hostsFiles('/certs.d', { ...mirror, registries: [] });
  assert.equal(all?.file, '/certs.d/_default/hosts.toml');
});

test('clientSetups have the mirror if it is asked for', () => {
  const places = { address: '/run/lp.sock', root: '/var/lib/lp', mirror };
  const { buildkit, containerd, docker } = clientSetups;
  assert.deepEqual(parse(buildkit.snippet(places)), parse(buildkit.apply('', places)));
  assert.match(buildkit.next(places)[0]!, / --mirror-address 127\.0\.0\.1:8235$/);
  assert.deepEqual(
    containerd.hosts?.(places).map(({ file }) => file),
    ['/etc/containerd/certs.d/docker.io/hosts.toml', '/etc/containerd/certs.d/localhost:5000/hosts.toml'],
  );
  assert.deepEqual(containerd.hosts?.({ ...places, mirror: undefined }), []);
  assert.equal(docker.hosts?.(places)[0]?.file, '/etc/docker/certs.d/docker.io/hosts.toml');
});

test('checkRegistry takes a host with an optional port', () => {
  for (const name of ['docker.io', 'localhost:5000', '[::1]:5000', 'a']) checkRegistry(name);
  for (const name of ['', 'https://docker.io', 'docker.io/library', '../x', 'a b', '.', '..', `${'a'.repeat(300)}`]) {
    assert.throws(() => checkRegistry(name), { code: 'InvalidArgument' }, name);
  }
});
