import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { messageOf } from '../../../src/errors.ts';
import { type DaemonConfig, defaults, loadConfig } from '../../../src/config/load.ts';

const directory = mkdtempSync(join(tmpdir(), 'lazypull-config-'));
after(() => rmSync(directory, { recursive: true }));

describe('loadConfig', () => {
  const config = join(directory, 'empty.toml');
  writeFileSync(config, '');

  it('has the places of containerd-stargz-grpc when nobody says otherwise', async () => {
    const loaded = await loadConfig({ config }, {});
    assert.deepEqual(
      loaded.clients.map(({ address }) => address),
      ['/run/containerd-stargz-grpc/containerd-stargz-grpc.sock'],
    );
    assert.equal(loaded.root, '/var/lib/containerd-stargz-grpc');
    assert.equal(loaded.logLevel, 'info');
    assert.deepEqual(loaded.warnings, []);
    assert.equal(defaults.config, '/etc/containerd-stargz-grpc/config.toml');
  });

  it('takes a pipe for a file, and refuses what is too large, no UTF-8 or no file', async () => {
    const at = (name: string) => join(directory, name);
    writeFileSync(at('large.toml'), Buffer.alloc(2 << 20, '#'));
    writeFileSync(at('latin1.toml'), Buffer.from('root_path = "\xe9"\n', 'latin1'));
    const problems = new Map([
      [at('large.toml'), /Cannot read the config file ".*large.toml": .* is larger than 1048576 bytes/],
      [at('latin1.toml'), /Cannot read the config file ".*latin1.toml": It is not UTF-8/],
      ['/dev/zero', /Cannot read the config file "\/dev\/zero": .* is larger than/],
      [directory, /Cannot read the config file ".*": EISDIR/],
    ]);
    for (const [path, problem] of problems) {
      await assert.rejects(loadConfig({ config: path }, {}), (error) => problem.test(messageOf(error)));
    }
    execFileSync('mkfifo', [at('pipe')]);
    const reading = loadConfig({ config: at('pipe') }, {});
    await writeFile(at('pipe'), 'metrics_address = "127.0.0.1:1"');
    assert.deepEqual((await reading).metricsAddress, { host: '127.0.0.1', port: 1 });
  });

  it('takes the environment before the default, and a flag before the environment', async () => {
    const env = {
      LAZYPULL_ADDRESS: '/e.sock',
      LAZYPULL_ROOT: '/e',
      LAZYPULL_LOG_LEVEL: 'debug',
      LAZYPULL_CONFIG: config,
    };
    assert.deepEqual(await pick(loadConfig({}, env)), ['/e.sock', '/e', 'debug']);
    assert.deepEqual(await pick(loadConfig({ address: '/f.sock', root: '/f', logLevel: 'trace' }, env)), [
      '/f.sock',
      '/f',
      'trace',
    ]);
    assert.deepEqual((await pick(loadConfig({ config }, { LAZYPULL_ADDRESS: '' }))).at(0), defaults.address);
  });

  it('serves metrics where the flag, the environment or the file says, and nowhere else', async () => {
    const file = join(directory, 'metrics.toml');
    writeFileSync(file, 'metrics_address = "127.0.0.1:1"');
    const off = join(directory, 'metrics-off.toml');
    writeFileSync(off, 'metrics_address = "127.0.0.1:1"\nno_prometheus = true');
    const env = { LAZYPULL_METRICS_ADDRESS: '[::1]:2' };
    const at = async (...args: Parameters<typeof loadConfig>) => (await loadConfig(...args)).metricsAddress;
    assert.equal(await at({ config }, {}), undefined);
    assert.deepEqual(await at({ config: file }, {}), { host: '127.0.0.1', port: 1 });
    assert.equal(await at({ config: off }, {}), undefined);
    assert.deepEqual(await at({ config: off }, env), { host: '::1', port: 2 });
    assert.deepEqual(await at({ config: file, metricsAddress: ':3' }, env), { host: '::', port: 3 });
    for (const wrong of ['', '8234', 'host:', 'host:65536', '::1:80', 'a b:1', '/run/x.sock']) {
      await assert.rejects(
        at({ config, metricsAddress: wrong }, {}),
        /Cannot use the metrics address ".*": it must be/,
      );
    }
  });

  it('has a client for each address and each [[client]] of the file', async () => {
    const file = join(directory, 'clients.toml');
    writeFileSync(file, '[[client]]\nname = "k3s"\naddress = "unix:///run/k3s.sock"\n');
    const { clients, warnings } = await loadConfig({ config: file, address: ['/run/a.sock', '/run/bk.sock'] }, {});
    assert.deepEqual(clients, [
      { name: 'default', address: '/run/a.sock' },
      { name: 'bk', address: '/run/bk.sock' },
      { name: 'k3s', address: '/run/k3s.sock' },
    ]);
    assert.deepEqual(warnings, []);
    const { clients: others } = await loadConfig({ config: file }, { LAZYPULL_ADDRESS: '/e.sock' });
    assert.deepEqual(
      others.map(({ address }) => address),
      ['/e.sock', '/run/k3s.sock'],
    );
    writeFileSync(file, '[[client]]\nname = "k3s"\n');
    await assert.rejects(loadConfig({ config: file }, {}), /client\.0\.address/);
  });

  it('serves the mirror where the flag, the environment or the file says, and to other machines only if the file says so', async () => {
    const file = join(directory, 'mirror.toml');
    writeFileSync(file, '[mirror]\naddress = "127.0.0.1:1"');
    const remote = join(directory, 'mirror-remote.toml');
    writeFileSync(remote, '[mirror]\naddress = ":1"\nallow_remote = true');
    const env = { LAZYPULL_MIRROR_ADDRESS: '[::1]:2' };
    const at = async (...args: Parameters<typeof loadConfig>) => (await loadConfig(...args)).mirrorAddress;
    assert.equal(await at({ config }, {}), undefined);
    assert.deepEqual(await at({ config: file }, {}), { host: '127.0.0.1', port: 1 });
    assert.deepEqual(await at({ config: file }, env), { host: '::1', port: 2 });
    assert.deepEqual(await at({ config: file, mirrorAddress: 'localhost:0' }, env), { host: 'localhost', port: 0 });
    assert.deepEqual(await at({ config: remote }, {}), { host: '::', port: 1 });
    for (const refused of [':3', '0.0.0.0:3', '10.0.0.1:3', 'mirror.example:3']) {
      const message = /every program that reaches it could read what this machine may pull$/;
      const hint = 'use 127.0.0.1, or set allow_remote in [mirror] of the config file';
      await assert.rejects(at({ config: file, mirrorAddress: refused }, {}), {
        code: 'InvalidArgument',
        message,
        hint,
      });
    }
    await assert.rejects(at({ config, mirrorAddress: 'x' }, {}), /Cannot use the mirror address "x": it must be/);
  });

  it('takes the repository of indexes from the environment, with and without a file', async () => {
    const file = join(directory, 'indexes.toml');
    writeFileSync(file, '[index]\nrepository = "registry.example/of-the-file"\npush = true\n');
    const of = async (...args: Parameters<typeof loadConfig>) => (await loadConfig(...args)).file?.index;
    const env = { LAZYPULL_INDEX_REPOSITORY: 'registry.example/indexes' };
    assert.equal(await of({ config }, {}), undefined);
    assert.equal((await of({ config: file }, {}))?.repository, 'registry.example/of-the-file');
    assert.deepEqual(
      [(await of({ config }, env))?.repository, (await of({ config }, env))?.push],
      ['registry.example/indexes', false],
    );
    assert.deepEqual(
      [(await of({ config: file }, env))?.repository, (await of({ config: file }, env))?.push],
      ['registry.example/indexes', true],
    );
  });

  it('takes unix:// off an address and resolves relative paths', async () => {
    assert.equal((await loadConfig({ config, address: 'unix:///a.sock' }, {})).clients[0]?.address, '/a.sock');
    assert.equal((await loadConfig({ config, root: 'state' }, {})).root, join(process.cwd(), 'state'));
  });

  it('takes "warning" and capitals as containerd does, and refuses other levels with the list of them', async () => {
    assert.equal((await loadConfig({ config, logLevel: 'Warning' }, {})).logLevel, 'warn');
    await assert.rejects(loadConfig({ config, logLevel: 'loud' }, {}), /"loud".*trace, debug/);
  });

  it('refuses a config file that was named and is missing', async () => {
    const missing = join(directory, 'missing.toml');
    await assert.rejects(loadConfig({ config: missing }, {}), /Cannot read the config file ".*missing.toml"/);
    await assert.rejects(loadConfig({}, { LAZYPULL_CONFIG: missing }), /Cannot read the config file/);
  });

  it('reads the file when there is something in it', async () => {
    const some = join(directory, 'some.toml');
    writeFileSync(some, 'speed = 1\n[resolver]\nrequest_timeout_sec = 5\n');
    const { file, warnings } = await loadConfig({ config: some }, {});
    assert.equal(file?.resolver.request_timeout_sec, 5);
    assert.equal(warnings.length, 1);
    assert.equal((await loadConfig({ config }, {})).file, undefined);
  });

  async function pick(loading: Promise<DaemonConfig>): Promise<string[]> {
    const loaded = await loading;
    return [loaded.clients[0]!.address, loaded.root, loaded.logLevel];
  }
});
