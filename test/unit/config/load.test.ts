import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { defaults, loadConfig, parseConfig, readConfigFile } from '../../../src/config/load.ts';

const directory = mkdtempSync(join(tmpdir(), 'lazypull-config-'));
after(() => rmSync(directory, { recursive: true }));

describe('loadConfig', () => {
  const config = join(directory, 'empty.toml');
  writeFileSync(config, '');

  it('has the places of containerd-stargz-grpc when nobody says otherwise', () => {
    const loaded = loadConfig({ config }, {});
    assert.equal(loaded.address, '/run/containerd-stargz-grpc/containerd-stargz-grpc.sock');
    assert.equal(loaded.root, '/var/lib/containerd-stargz-grpc');
    assert.equal(loaded.logLevel, 'info');
    assert.deepEqual(loaded.warnings, []);
    assert.equal(defaults.config, '/etc/containerd-stargz-grpc/config.toml');
  });

  it('takes the environment before the default, and a flag before the environment', () => {
    const env = {
      LAZYPULL_ADDRESS: '/e.sock',
      LAZYPULL_ROOT: '/e',
      LAZYPULL_LOG_LEVEL: 'debug',
      LAZYPULL_CONFIG: config,
    };
    assert.deepEqual(pick(loadConfig({}, env)), ['/e.sock', '/e', 'debug']);
    assert.deepEqual(pick(loadConfig({ address: '/f.sock', root: '/f', logLevel: 'trace' }, env)), [
      '/f.sock',
      '/f',
      'trace',
    ]);
    assert.deepEqual(pick(loadConfig({ config }, { LAZYPULL_ADDRESS: '' })).at(0), defaults.address);
  });

  it('takes unix:// off an address and resolves relative paths', () => {
    assert.equal(loadConfig({ config, address: 'unix:///a.sock' }, {}).address, '/a.sock');
    assert.equal(loadConfig({ config, root: 'state' }, {}).root, join(process.cwd(), 'state'));
  });

  it('takes "warning" and capitals as containerd does, and refuses other levels with the list of them', () => {
    assert.equal(loadConfig({ config, logLevel: 'Warning' }, {}).logLevel, 'warn');
    assert.throws(() => loadConfig({ config, logLevel: 'loud' }, {}), /"loud".*trace, debug/);
  });

  it('refuses a config file that was named and is missing', () => {
    const missing = join(directory, 'missing.toml');
    assert.throws(() => loadConfig({ config: missing }, {}), /Cannot read the config file ".*missing.toml"/);
    assert.throws(() => loadConfig({}, { LAZYPULL_CONFIG: missing }), /Cannot read the config file/);
    assert.deepEqual(readConfigFile(missing, false).warnings, []);
  });

  function pick(loaded: ReturnType<typeof loadConfig>): string[] {
    return [loaded.address, loaded.root, loaded.logLevel];
  }
});

describe('parseConfig', () => {
  const parse = (text: string) => parseConfig(text, 'c.toml');

  it('knows every key of config.toml and its default', () => {
    const { file } = parse('');
    assert.equal(file.blob.chunk_size, 50_000);
    assert.equal(file.directory_cache.direct, true);
    assert.equal(file.fuse.merge_buffer_size, 419_430_400);
    assert.equal(file.cri_keychain.image_service_path, '/run/containerd/containerd.sock');
    assert.equal(file.resolver.request_timeout_sec, 30);
    assert.equal(file.max_concurrency, 2);
  });

  it('reads mirrors', () => {
    const { file, warnings } = parse(`
      [[resolver.host."docker.io".mirrors]]
      host = "mirror.example:5000"
      insecure = true
      request_timeout_sec = -1
      [resolver.host."docker.io".mirrors.header]
      x-token = "a"
    `);
    assert.deepEqual(file.resolver.host['docker.io']?.mirrors, [
      { host: 'mirror.example:5000', insecure: true, request_timeout_sec: -1, header: { 'x-token': 'a' } },
    ]);
    assert.deepEqual(warnings, []);
  });

  it('warns about unknown keys, at every depth, and goes on', () => {
    const { warnings } = parse(`
      speed = "high"
      [blob]
      chunk_sizes = 1
      [[resolver.host."r.example".mirrors]]
      host = "m"
      colour = "red"
    `);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? '', /speed, blob\.chunk_sizes, resolver\.host\."r\.example"\.mirrors\.colour$/);
  });

  it('tells which keys have no effect yet, in one line, and not those that say the default', () => {
    const { warnings } = parse(
      'noprefetch = true\nmax_concurrency = 2\n[fuse]\npassthrough = true\nattr_timeout = 1\n',
    );
    assert.deepEqual(warnings, [
      'Keys in the config file "c.toml" that have no effect yet: noprefetch, fuse.passthrough',
    ]);
  });

  it('refuses a value of the wrong type and names its key', () => {
    assert.throws(() => parse('[blob]\nchunk_size = "big"\n'), /"c\.toml": blob\.chunk_size: .*number/);
    assert.throws(() => parse('metadata_store = "paper"\n'), /metadata_store/);
    assert.throws(() => parse('prefetch_size = -1\n'), /prefetch_size/);
  });

  it('refuses what is not TOML', () => {
    assert.throws(() => parse('{}'), /Cannot parse the config file "c\.toml"/);
    assert.throws(() => parse('#'.repeat(2 << 20)), /larger than/);
  });
});
