import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { hintOf, messageOf } from '../../src/errors.ts';
import { RegistryClient } from '../../src/registry/client.ts';
import { credentialSources } from '../../src/registry/auth/credentials/index.ts';
import { parseReference } from '../../src/registry/reference.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { estargzBlob, type FileSpec } from '../support/estargz-blob.ts';
import { ForwardProxy } from '../support/forward-proxy.ts';
import { freePort } from '../support/ports.ts';
import { registryLogin, type RegistryProcess, startRegistry, wantPasswords } from '../support/registry-process.ts';
import { type ImageLayer, SnapshotsClient } from '../support/snapshots-client.ts';
import { testTls } from '../support/tls.ts';
import { TokenServer } from '../support/token-server.ts';
import { Workspace } from '../support/workspace.ts';
import { until } from '../support/until.ts';

const identityToken = 'what docker login got';

let workspace: Workspace;
let certificates: string;
let tls: { certificate: string; key: string };

before(async () => {
  workspace = await Workspace.open('lp-registries');
  certificates = await workspace.directory('certs.d');
  tls = { certificate: join(workspace.path, 'cert.pem'), key: join(workspace.path, 'key.pem') };
  await writeFile(tls.certificate, testTls.cert);
  await writeFile(tls.key, testTls.key);
});
after(() => workspace[Symbol.asyncDispose]());

async function hostsToml(host: string, text: string): Promise<void> {
  await mkdir(join(certificates, host), { recursive: true });
  await writeFile(join(certificates, host, 'hosts.toml'), text);
}

/** A DOCKER_CONFIG with an entry for each host. */
async function dockerConfig(name: string, auths: Record<string, object>): Promise<string> {
  const directory = await workspace.directory(name);
  await writeFile(join(directory, 'config.json'), JSON.stringify({ auths }));
  return directory;
}

function clientWith(environment: NodeJS.ProcessEnv): RegistryClient {
  const hosts = { config_path: certificates };
  return new RegistryClient({ hosts, credentials: credentialSources(environment), environment });
}

/** A layer of files of a megabyte, pushed to a registry. */
async function pushLayer(client: RegistryClient, reference: string): Promise<{ layer: ImageLayer; files: FileSpec[] }> {
  const files = Array.from({ length: 24 }, (_, i): FileSpec => {
    return { path: `file-${i}`, type: 'reg', content: randomBytes(1 << 20) };
  });
  const { bytes, context } = estargzBlob(files, 1 << 18);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  await client.pushBlob(parseReference(reference), { digest, size: bytes.length }, bytes);
  return { layer: { digest, annotations: { 'containerd.io/snapshot/stargz/toc.digest': context.tocDigest } }, files };
}

async function read(root: string, { path, content }: FileSpec): Promise<void> {
  await using file = await open(join(root, path));
  const { buffer, bytesRead } = await file.read(Buffer.alloc(1 << 20), 0, 1 << 20, 0);
  assert.ok(buffer.subarray(0, bytesRead).equals(content!.subarray(0, bytesRead)) && bytesRead > 0);
}

/** Mounts a layer with a daemon of its own and reads a file of it. */
async function readLazily(
  name: string,
  reference: string,
  { layer, files }: Awaited<ReturnType<typeof pushLayer>>,
  environment: Record<string, string> = {},
): Promise<void> {
  const toml = `no_background_fetch = true\n[resolver]\nconfig_path = "${certificates}"\n`;
  await using daemon = await startDaemon(join(workspace.path, name), 'debug', toml, environment);
  using snapshots = new SnapshotsClient(daemon.socket);
  const root = join(workspace.path, name, 'mnt');
  await snapshots.mount(await snapshots.prepareImage(name, reference, [layer]), root);
  await read(root, files[0]!);
  await snapshots.unmount(root);
}

async function logged(daemon: Daemon, pattern: RegExp): Promise<void> {
  await until(() => pattern.test(daemon.program.output), `${pattern} is in the log`);
}

test('A registry with TLS and passwords, through a proxy too, and after its death', async () => {
  const data = join(workspace.path, 'blobs');
  const settings = { http: { tls }, auth: await wantPasswords(join(workspace.path, 'htpasswd')) };
  const start = (port: number): Promise<RegistryProcess> =>
    startRegistry(join(workspace.path, 'registry'), data, port, settings);
  const port = await freePort();
  let registry = await start(port);
  await using proxy = await ForwardProxy.start('proxy:secret');
  const [direct, proxied] = [`127.0.0.1:${port}`, `registry.example:${port}`];
  await hostsToml(direct, `server = "https://${direct}"\nca = "${tls.certificate}"\n`);
  await hostsToml(proxied, 'skip_verify = true\n');
  const auth = Buffer.from(registryLogin).toString('base64');
  const environment = {
    DOCKER_CONFIG: await dockerConfig('docker', { [direct]: { auth } }),
    HTTPS_PROXY: proxy.url,
    NO_PROXY: 'elsewhere.example',
  };
  await using client = clientWith(environment);
  const first = await pushLayer(client, `${direct}/app`);
  const second = await pushLayer(client, `${direct}/app`);

  const toml = `no_background_fetch = true\n[resolver]\nconfig_path = "${certificates}"\n`;
  await using daemon = await startDaemon(join(workspace.path, 'lp'), 'debug', toml, environment);
  using snapshots = new SnapshotsClient(daemon.socket);
  const mount = async (name: string, reference: string, layer: ImageLayer): Promise<string> => {
    const root = join(workspace.path, name);
    await snapshots.mount(await snapshots.prepareImage(name, reference, [layer]), root);
    return root;
  };
  const direct1 = await mount('direct', `${direct}/app`, first.layer);
  await read(direct1, first.files[0]!);
  assert.deepEqual(proxy.seen, []);

  assert.equal(await snapshots.prepareLayer('refused', '', `${proxied}/app`, second.layer), false);
  const advice = `there are no credentials for \\\\"${proxied}\\\\" in .*docker/config.json.*BuildKit.*docker login ${proxied}`;
  await logged(daemon, new RegExp(advice));
  assert.equal(proxy.seen[0], `CONNECT ${proxied}`);
  await dockerConfig('docker', { [direct]: { auth }, [proxied]: { auth } });
  const proxied1 = await mount('proxied', `${proxied}/app`, second.layer);
  await read(proxied1, second.files[0]!);

  await registry.program.stop('SIGKILL');
  await assert.rejects(read(direct1, first.files[12]!), { code: 'EIO' });
  await logged(daemon, /"file":"file-12".*the connection was refused/);
  registry = await start(port);
  await read(direct1, first.files[12]!);
  await read(proxied1, second.files[12]!);
  for (const root of [direct1, proxied1]) await snapshots.unmount(root);
  await registry.program.stop();
});

test('An identity token is exchanged for tokens of a repository each, again when they expire, and once for many readers', async () => {
  await using tokens = await TokenServer.start(identityToken);
  const { realm, service, issuer } = tokens;
  const auth = { token: { realm, service, issuer, rootcertbundle: tls.certificate } };
  await using registry = await startRegistry(join(workspace.path, 'tokens'), undefined, undefined, {
    http: { tls },
    auth,
  });
  const host = `127.0.0.1:${registry.port}`;
  await hostsToml(host, `server = "https://${host}"\nca = "${tls.certificate}"\n`);
  const environment = { DOCKER_CONFIG: await dockerConfig('identity', { [host]: { identitytoken: identityToken } }) };
  await using client = clientWith(environment);
  const { layer } = await pushLayer(client, `${host}/team/one`);
  assert.deepEqual(tokens.requests, [{ method: 'POST', service, scopes: ['repository:team/one:pull,push'] }]);

  tokens.requests.length = 0;
  tokens.seconds = 1;
  const blob = client.blob(parseReference(`${host}/team/one`), layer.digest);
  await Promise.all(Array.from({ length: 10 }, () => blob.tail(1000)));
  assert.deepEqual(
    tokens.requests.map(({ scopes }) => scopes.join()),
    ['repository:team/one:pull'],
  );
  await delay(1000);
  await blob.tail(1000);
  assert.equal(tokens.requests.length, 2);

  await using stranger = clientWith({ DOCKER_CONFIG: await dockerConfig('wrong', { [host]: { identitytoken: 'x' } }) });
  await assert.rejects(stranger.blob(parseReference(`${host}/team/one`), layer.digest).tail(1000), (error: unknown) => {
    assert.match(messageOf(error), /401 Unauthorized \(UNAUTHORIZED: wrong identity token\)$/);
    assert.match(hintOf(error) ?? '', /the credentials for ".*" in ".*wrong\/config.json" were not enough/);
    return true;
  });
});

test('A registry in plain http behind a proxy that wants a password', async () => {
  await using registry = await startRegistry(join(workspace.path, 'plain'));
  await using proxy = await ForwardProxy.start('proxy:secret');
  const host = `plain.example:${registry.port}`;
  await hostsToml(host, `server = "http://${host}"\n`);
  await using client = clientWith({ HTTP_PROXY: proxy.url });
  const { layer } = await pushLayer(client, `${host}/app`);
  assert.equal((await client.blob(parseReference(`${host}/app`), layer.digest).tail(10)).data.length, 10);
  assert.ok(
    proxy.seen.length > 0 && proxy.seen.every((line) => line.includes(` http://${host}/v2/`)),
    proxy.seen.join(),
  );
  await using other = clientWith({ HTTP_PROXY: proxy.url.replace('secret', 'wrong') });
  await assert.rejects(other.blob(parseReference(`${host}/app`), layer.digest).tail(10), /407/);
});

test('A registry that wants a client certificate', async () => {
  await using registry = await startRegistry(join(workspace.path, 'clients'), undefined, undefined, {
    http: { tls: { ...tls, clientcas: [tls.certificate] } },
  });
  const host = `127.0.0.1:${registry.port}`;
  const server = `server = "https://${host}"\nca = "${tls.certificate}"\n`;
  await hostsToml(host, server);
  await using client = clientWith({});
  for (let i = 0; i < 3; i++) {
    const refused = /127\.0\.0\.1:.*: the server does not take this client in TLS: it may want a client certificate/;
    await assert.rejects(pushLayer(client, `${host}/app`), refused);
  }
  await hostsToml(host, `${server}client = [["${tls.certificate}", "${tls.key}"]]\n`);
  await readLazily('lp-clients', `${host}/app`, await pushLayer(client, `${host}/app`));
});

test('A mirror whose path is its own, before a registry that cannot be reached', async () => {
  await using registry = await startRegistry(join(workspace.path, 'mirror'));
  const direct = `127.0.0.1:${registry.port}`;
  await hostsToml(
    'images.invalid',
    `[host."http://${direct}/v2/team/copies"]\ncapabilities = ["pull", "resolve"]\noverride_path = true\n`,
  );
  await using client = clientWith({});
  const pushed = await pushLayer(client, `${direct}/team/copies/app`);
  await readLazily('lp-mirror', 'images.invalid/app', pushed);
});

test('A credential helper of Docker', async () => {
  await using registry = await startRegistry(join(workspace.path, 'helped'), undefined, undefined, {
    http: { tls },
    auth: await wantPasswords(join(workspace.path, 'htpasswd-helper')),
  });
  const host = `127.0.0.1:${registry.port}`;
  await hostsToml(host, `server = "https://${host}"\nca = "${tls.certificate}"\n`);
  const programs = await workspace.directory('programs');
  const colon = registryLogin.indexOf(':');
  const [Username, Secret] = [registryLogin.slice(0, colon), registryLogin.slice(colon + 1)];
  const asked = join(programs, 'asked');
  const script = `#!/bin/sh
server=$(cat)
echo "$1 $server" >> '${asked}'
[ "$server" = '${host}' ] || { echo 'credentials not found in native keychain'; exit 1; }
echo '${JSON.stringify({ ServerURL: host, Username, Secret })}'
`;
  await writeFile(join(programs, 'docker-credential-test'), script, { mode: 0o755 });
  const DOCKER_CONFIG = await workspace.directory('helper');
  await writeFile(join(DOCKER_CONFIG, 'config.json'), JSON.stringify({ credHelpers: { [host]: 'test' } }));
  const environment = { DOCKER_CONFIG, PATH: `${programs}:${process.env['PATH']}` };
  await using client = clientWith(environment);
  await readLazily('lp-helper', `${host}/app`, await pushLayer(client, `${host}/app`), environment);
  assert.match(await readFile(asked, 'utf8'), new RegExp(`^(get ${host}\n)+$`));

  await writeFile(join(DOCKER_CONFIG, 'config.json'), JSON.stringify({ credsStore: 'missing' }));
  await using helpless = clientWith(environment);
  await assert.rejects(pushLayer(helpless, `${host}/app`), (error) =>
    /from "docker-credential-missing": there is no such program in PATH;.* 401 Unauthorized/.test(messageOf(error)),
  );
});
