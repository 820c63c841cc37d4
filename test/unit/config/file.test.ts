import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseConfig } from '../../../src/config/file.ts';
import { defaults } from '../../../src/config/load.ts';
import { messageOf } from '../../../src/errors.ts';

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
    assert.deepEqual(warnings, [
      'Unknown key "speed" in the config file "c.toml" (line 2) is ignored',
      'Unknown key "constructor" in the config file "c.toml" (line 3) is ignored',
      'Unknown key "blob.chunk_sizes" in the config file "c.toml" (line 5) is ignored: did you mean "blob.chunk_size"?',
      'Unknown key resolver.host."r.example".mirrors.0.colour in the config file "c.toml" (line 8) is ignored',
    ]);
  });

  it('finds what a key may stand for: with a typing error, in the words of another file, or in another table', () => {
    const meant = (text: string) => /did you mean (.*)\?$/.exec(parse(text).warnings.join())?.[1];
    assert.equal(meant('prefetch_sise = 1'), '"prefetch_size"');
    assert.equal(meant('no-prefetch = true'), '"noprefetch"');
    assert.equal(meant('noBackgroundFetch = true'), '"no_background_fetch"');
    assert.equal(meant('[cahce]\nmax_size = 1'), '"cache"');
    assert.equal(meant('min_free = "20GB"'), '"cache.min_free"');
    assert.equal(meant('[cache]\nrequest_timeout_sec = 1'), '"resolver.request_timeout_sec"');
    assert.equal(meant('address = 1'), undefined, 'three tables have it');
    assert.equal(meant('completely_different = 1'), undefined);
    assert.equal(
      parse('metadata_store = "db"\n[fuse_manager]\nenable = true').warnings.length,
      1,
      'known, without effect',
    );
  });

  it('names of a hostile file the first keys only', () => {
    const { warnings } = parse(Array.from({ length: 500 }, (_, i) => `zzz${i} = 1`).join('\n'));
    assert.equal(warnings.length, 20);
  });

  it('has nothing to say about keys that lazypull itself has made', () => {
    const text =
      '[snapshotter]\nxino = "off"\ndirect_io = true\n[cache]\nmin_free = "1GB"\n[mirror]\nallow_remote = true\n';
    const { file, warnings } = parseConfig(text, 'c.toml');
    assert.deepEqual(warnings, []);
    assert.deepEqual([file.snapshotter.xino, file.snapshotter.direct_io], ['off', true]);
    assert.throws(() => parseConfig('[snapshotter]\nxino = "yes"\n', 'c.toml'), /snapshotter\.xino/);
  });

  it('does not call keys of index and unindexed without effect', () => {
    const { warnings } = parse(`
      [index]
      max_size = "1GB"
      repository = "registry.example/team/indexes"
      push = true
      referrers = true
      trusted_keys = ["key"]
      signing_key = "key.pem"
      lookup_timeout_msec = 100
      [unindexed]
      mode = "client"
      min_size = "1MB"
      max_size = "1GB"
    `);
    assert.deepEqual(warnings, []);
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

  it('says in plain words what is allowed, what was found, and in which line', () => {
    const problemOf = (text: string): string => {
      try {
        parse(text);
      } catch (error) {
        return String(error).replace(/^.*"c\.toml": /, '');
      }
      return '';
    };
    const cases = [
      ['\nprefetch_size = "big"', 'prefetch_size: it must be a whole number from 0 on, not the text "big" (line 2)'],
      ['max_concurrency = 2.5', 'max_concurrency: it must be a whole number from 0 to 1000000, not 2.5 (line 1)'],
      ['prefetch_timeout_sec = -2', 'prefetch_timeout_sec: it must be at least -1, not -2 (line 1)'],
      ['[cache]\nhigh_water = 7', 'cache.high_water: it must be at most 1, not 7 (line 2)'],
      ['[cache]\nlow_water = 0', 'cache.low_water: it must be above 0, not 0 (line 2)'],
      ['[cache]\nlow_water = "x"', 'cache.low_water: it must be a number above 0 to 1, not the text "x" (line 2)'],
      ['metadata_store = "paper"', 'metadata_store: it must be "memory", "db" or "", not the text "paper" (line 1)'],
      ['debug = "yes"', 'debug: it must be true or false, not the text "yes" (line 1)'],
      ['metrics_address = 8234', 'metrics_address: it must be text, not 8234 (line 1)'],
      ['blob = 1', 'blob: it must be a table, not 1 (line 1)'],
      [
        'cache.max_size = true',
        'cache.max_size: it must be bytes, or text like "20GB", "20GiB" or "40%", not true (line 1)',
      ],
      [
        '[client]\nname = "x"',
        'client: it must be a list of tables, each under a header like [[NAME]], not a table (line 1)',
      ],
      ['[[client]]\nname = "a"\naddress = "/a"\n[[client]]\nname = "b"', 'client.1.address: it is missing (line 4)'],
      [
        '[[resolver.host."r.io".mirrors]]\nhost = ""',
        'resolver.host."r.io".mirrors.0.host: it must be text that is not empty, not the text "" (line 2)',
      ],
      [
        '[[resolver.host."r.io".mirrors]]\nhost = "m"\n[resolver.host."r.io".mirrors.header]\na = 1',
        'resolver.host."r.io".mirrors.0.header.a: it must be text or a list of text, not 1 (line 4)',
      ],
    ] as const;
    for (const [text, problem] of cases) assert.equal(problemOf(text), problem);
    assert.doesNotMatch(cases.map(([text]) => problemOf(text)).join(), /Invalid|expected|received/);
    assert.ok(problemOf(`prefetch_size = "${'x'.repeat(10_000)}"`).length < 200);
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
    assert.throws(
      () => parse('a = 1\nb = [x]\n'),
      (error) =>
        messageOf(error) === 'Cannot parse the config file "c.toml": invalid value in line 2, column 6: b = [x]',
    );
  });
});
