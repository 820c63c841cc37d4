import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { parseConfig } from '../../../src/config/file.ts';
import { chunkTable } from '../../../src/chunks/chunk-table.ts';
import { LayerDirectory } from '../../../src/layers/store/layer-directory.ts';
import { parseTrace, chunksOfTrace } from '../../../src/layers/prefetch/trace.ts';
import { dockerConfig } from '../../../src/registry/auth/credentials/docker-config.ts';
import { Hosts } from '../../../src/registry/hosts/hosts.ts';
import { readHostDirectory } from '../../../src/registry/hosts/hosts-file.ts';
import { scratchDirectory } from '../scratch.ts';
import type { Subject } from '../subject.ts';

const directory = scratchDirectory();

const json = (arbitrary: fc.Arbitrary<unknown>) => arbitrary.map((value) => Buffer.from(JSON.stringify(value)));
const jsonTokens = ['{', '}', '[', ']', '"', ',', ':', 'null', 'true', '{}', '[]', '""', '"__proto__":'];

const tomlLines = [
  'noprefetch = true',
  'prefetch_size = 10_000',
  '[resolver]',
  'request_timeout_sec = 5',
  '[[resolver.host."registry.example".mirrors]]',
  'host = "mirror.example:5000/x"',
  'insecure = true',
  'header = { a = ["b"] }',
  '[background_fetch]',
  'max_bytes_per_second = 1e3',
  '[blob]',
  'x.y = 1979-05-27T07:32:00Z',
  '[a.b]',
  's = """\n"""',
];

const toml: Subject = {
  name: 'config.toml',
  weight: 15,
  inputs: fc.array(fc.constantFrom(...tomlLines), { maxLength: 12 }).map((lines) => Buffer.from(lines.join('\n'))),
  tokens: ['[', ']', '[[', '=', '"', "'", '{', '}', '\n', '.', '__proto__', 'constructor', 'inf', 'nan', '#', '"""'],
  async run(input) {
    const { file } = parseConfig(input.toString(), 'config.toml');
    const hosts = new Hosts({ ...file.resolver, config_path: '' });
    for (const { base } of await hosts.endpoints('registry.example')) assert.match(base, /^https?:\/\/[^/]+\/v2\//);
  },
};

const hostsLines = [
  'server = "https://registry.example"',
  'capabilities = ["pull", "resolve"]',
  'skip_verify = true',
  'override_path = true',
  'ca = "ca.pem"',
  'client = [["a.pem", "b.pem"], "c.pem"]',
  '[header]',
  'x-a = ["b"]',
  '[host."http://mirror.example:5000/v2/x"]',
  '[host."mirror.example"]',
  '[host."mirror.example".header]',
];

const hostsToml: Subject = {
  name: 'hosts.toml',
  weight: 8,
  inputs: fc.array(fc.constantFrom(...hostsLines), { maxLength: 8 }).map((lines) => Buffer.from(lines.join('\n'))),
  tokens: ['[host."', '"]', '=', '"', '\n', 'http://', 'file://', '@', '?', '#', '../', '__proto__', 'true', '"""'],
  async run(input) {
    writeFileSync(join(directory, 'hosts.toml'), input);
    for (const { url } of await readHostDirectory(directory, new URL('https://registry.example/v2/'))) {
      assert.match(url.href, /^https?:\/\/[^/@?#]+\/(?:[^?#]*\/)?$/);
    }
  },
};

const auth = fc.record(
  {
    auth: fc.constantFrom('dTpw', '', 'Og==', 'x'),
    username: fc.string(),
    password: fc.string(),
    identitytoken: fc.constantFrom('', 't'),
  },
  { requiredKeys: [] },
);

const docker: Subject = {
  name: 'Docker config.json',
  weight: 8,
  inputs: json(
    fc.record(
      {
        auths: fc.dictionary(
          fc.constantFrom('h.example', 'https://h.example/v1/', 'https://index.docker.io/v1/'),
          auth,
        ),
        credHelpers: fc.constantFrom({}, { 'other.example': 'x' }, null),
        credsStore: fc.constantFrom('', null, '../x'),
      },
      { requiredKeys: [] },
    ),
  ),
  tokens: [...jsonTokens, '"h.example"', '"auth"', 'https://'],
  async run(input) {
    writeFileSync(join(directory, 'config.json'), input);
    const credentials = dockerConfig({ DOCKER_CONFIG: directory, PATH: join(directory, 'no-programs') });
    for (const host of ['h.example', 'docker.io']) {
      const found = await credentials.find({ host, repository: undefined, labels: {} });
      if (found?.kind === 'password') assert.equal(typeof found.username + typeof found.password, 'stringstring');
    }
  },
};

const digest = `sha256:${'ab'.repeat(32)}`;

const record: Subject = {
  name: 'layer record',
  weight: 10,
  inputs: json(
    fc.record({
      version: fc.constantFrom(1, 5, 6),
      digest: fc.constant(digest),
      tocDigest: fc.constant(digest),
      indexDigest: fc.constant(digest),
      format: fc.constantFrom('estargz', ''),
      blobBytes: fc.nat(),
      diskBytes: fc.nat(),
      rows: fc.nat(100),
      chunks: fc.nat(100),
    }),
  ),
  tokens: jsonTokens,
  async run(input) {
    writeFileSync(join(directory, 'layer.json'), input);
    const found = await new LayerDirectory(directory).record();
    if (found === undefined) return;
    for (const each of [found.blobBytes, found.diskBytes, found.chunks])
      assert.ok(Number.isSafeInteger(each) && each >= 0);
    assert.match(found.digest, /^sha256:/);
  },
};

const table = chunkTable(undefined, 100);
table.streamOffset.forEach((_, row, offsets) => (offsets[row] = row * 10));

const trace: Subject = {
  name: 'trace',
  weight: 60,
  inputs: json(
    fc.record({
      version: fc.constantFrom(1, 1, 1, 2),
      digest: fc.constant(digest),
      ranges: fc.array(fc.nat(50), { maxLength: 10 }).map((steps) => {
        let at = 0;
        return steps.map((step) => [(at += step), (at += 1 + step)]);
      }),
    }),
  ),
  tokens: [...jsonTokens, '"ranges":'],
  run(input) {
    for (const { first, last } of chunksOfTrace(parseTrace(input.toString()), table)) {
      assert.ok(first >= 0 && first <= last && last <= table.length);
    }
  },
};

export const configuration: readonly Subject[] = [toml, hostsToml, docker, record, trace];
