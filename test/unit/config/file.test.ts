import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseConfig } from '../../../src/config/file.ts';
import { defaults } from '../../../src/config/load.ts';

describe('parseConfig', () => {
  const parse = (text: string) => parseConfig(text, 'c.toml');

  it('knows every key of config.toml and its default', () => {
    const { file } = parse('');
    assert.equal(file.blob.chunk_size, 50_000);
    assert.equal(file.directory_cache.direct, true);
    assert.equal(file.fuse.merge_buffer_size, 419_430_400);
    assert.equal(file.cri_keychain.image_service_path, '/run/containerd/containerd.sock');
    assert.equal(file.resolver.request_timeout_sec, 30);
    assert.equal(file.resolver.config_path, defaults.registryHosts);
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
      constructor = 1
      [blob]
      chunk_sizes = 1
      [[resolver.host."r.example".mirrors]]
      host = "m"
      colour = "red"
    `);
    assert.equal(warnings.length, 1);
    assert.match(
      warnings[0] ?? '',
      /speed, constructor, blob\.chunk_sizes, resolver\.host\."r\.example"\.mirrors\.colour$/,
    );
  });

  it('tells which keys have no effect yet, in one line, and not those that say the default', () => {
    const { warnings } = parse(
      'log_file_access = true\nmax_concurrency = 2\n[fuse]\npassthrough = true\nattr_timeout = 1\n',
    );
    assert.deepEqual(warnings, [
      'Keys in the config file "c.toml" that have no effect yet: log_file_access, fuse.passthrough',
    ]);
  });

  it('refuses a value of the wrong type and names its key', () => {
    assert.throws(() => parse('[blob]\nchunk_size = "big"\n'), /"c\.toml": blob\.chunk_size: .*number/);
    assert.throws(() => parse('metadata_store = "paper"\n'), /metadata_store/);
    assert.throws(() => parse('prefetch_size = -1\n'), /prefetch_size/);
  });

  it('reads the bounds of the cache, as bytes, sizes and shares', () => {
    const { file, warnings } = parse('[cache]\nmax_size = "20GB"\nmin_free = "5%"\nhigh_water = 0.9\n');
    assert.deepEqual(file.cache, { max_size: '20GB', min_free: '5%', high_water: 0.9 });
    assert.deepEqual(warnings, []);
    assert.throws(() => parse('[cache]\nmax_size = "much"'), /cache\.max_size: it must be bytes, or text like "20GB"/);
    assert.throws(() => parse('[cache]\nhigh_water = 0.5'), /low_water must not be above high_water/);
  });

  it('refuses what is not TOML', () => {
    assert.throws(() => parse('{}'), /Cannot parse the config file "c\.toml"/);
  });
});
