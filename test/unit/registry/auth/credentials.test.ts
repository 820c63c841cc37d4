import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { codeOf, messageOf } from '../../../../src/errors.ts';
import type { Credential } from '../../../../src/registry/auth/credentials/credential-source.ts';
import { dockerConfig } from '../../../../src/registry/auth/credentials/docker-config.ts';

let directory = '';

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lazypull-credentials-'));
});

after(() => rm(directory, { recursive: true }));

function byHost(environment: NodeJS.ProcessEnv) {
  const source = dockerConfig(environment);
  return {
    source,
    find: (host: string): Promise<Credential | undefined> => source.find({ host, repository: undefined, labels: {} }),
  };
}

async function configured(config: unknown) {
  await writeFile(join(directory, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
  return byHost({ DOCKER_CONFIG: directory, PATH: `${directory}:${process.env['PATH']}` });
}

async function helper(name: string, script: string): Promise<void> {
  const path = join(directory, `docker-credential-${name}`);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
}

function auth(username: string, password: string): { auth: string } {
  return { auth: Buffer.from(`${username}:${password}`).toString('base64') };
}

function password(username: string, secret: string): object {
  return { kind: 'password', username, password: secret };
}

test('dockerConfig has no credentials without a file; $HOME/.docker is the default place', async () => {
  const credentials = byHost({ HOME: '/nowhere' });
  assert.equal(credentials.source.place, '/nowhere/.docker/config.json');
  assert.equal(await credentials.find('docker.io'), undefined);
});

test('dockerConfig finds auths by host, even in older spellings, and reads them afresh', async () => {
  const credentials = await configured({
    auths: {
      'https://index.docker.io/v1/': auth('hub', 'a:b'),
      'reg.io:5000': auth('exact', 'x'),
      'https://reg.io:5000/v1/': auth('older', 'x'),
      'https://old.io/v2/': auth('old', 'x\0\0'),
      'fields.io': { username: 'u', password: 'p' },
      'token.io': { ...auth('u', ''), identitytoken: 'tok' },
      'empty.io': {},
    },
  });
  assert.deepEqual(await credentials.find('docker.io'), password('hub', 'a:b'));
  assert.deepEqual(await credentials.find('reg.io:5000'), password('exact', 'x'));
  assert.deepEqual(await credentials.find('old.io'), password('old', 'x'));
  assert.deepEqual(await credentials.find('fields.io'), password('u', 'p'));
  assert.deepEqual(await credentials.find('token.io'), { kind: 'identity-token', token: 'tok' });
  for (const host of ['empty.io', 'reg.io', 'other.io', '__proto__', 'constructor'])
    assert.equal(await credentials.find(host), undefined);
  await configured({ auths: { 'other.io': auth('new', 'y') } });
  assert.deepEqual(await credentials.find('other.io'), password('new', 'y'));
});

test("dockerConfig asks helpers with the server on standard input, the host's before the one for all", async () => {
  await helper(
    'one',
    'read server; echo "{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"one\\",\\"Secret\\":\\"$server\\"}"',
  );
  await helper('all', 'read server; echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"$server\\"}"');
  const credentials = await configured({
    credsStore: 'all',
    credHelpers: { 'reg.io': 'one' },
    auths: { 'reg.io': {} },
  });
  assert.deepEqual(await credentials.find('reg.io'), password('one', 'reg.io'));
  assert.deepEqual(await credentials.find('docker.io'), {
    kind: 'identity-token',
    token: 'https://index.docker.io/v1/',
  });
});

test('dockerConfig takes auths if a helper does not know the host', async () => {
  await helper('none', 'echo "credentials not found in native keychain"; exit 1');
  const credentials = await configured({ credsStore: 'none', auths: { 'reg.io': auth('u', 'p') } });
  assert.deepEqual(await credentials.find('reg.io'), password('u', 'p'));
  assert.equal(await credentials.find('other.io'), undefined);
});

test('dockerConfig reports what is broken with its place', async () => {
  await helper('bad', 'echo "the keychain is locked"; exit 1');
  await helper('loud', 'printf "cannot open\\n\\033[31mthe vault" >&2; exit 3');
  await helper('mute', 'exit 4');
  await writeFile(join(directory, 'docker-credential-plain'), '#!/bin/sh\n', { mode: 0o644 });
  const table: [unknown, RegExp][] = [
    ['{', /Cannot read the credentials in ".*config\.json": it is not a JSON object/],
    ['[]', /it is not a JSON object/],
    [
      { auths: { h: { auth: '!!' } } },
      /Cannot read the credentials for "h" in ".*": "auth" is not the base64 of USER:PASSWORD/,
    ],
    [
      { credsStore: 'missing' },
      /Cannot get the credentials for "h" from "docker-credential-missing": there is no such program in PATH/,
    ],
    [{ credsStore: 'bad' }, /from "docker-credential-bad": the keychain is locked/],
    [{ credsStore: 'loud' }, /from "docker-credential-loud": cannot open \[31mthe vault$/],
    [{ credsStore: 'mute' }, /from "docker-credential-mute": it ended with 4 and said nothing$/],
    [{ credsStore: 'plain' }, /from "docker-credential-plain": it may not be run as a program$/],
    [{ credHelpers: { h: '../../bin/sh' } }, /is not the name of a program/],
  ];
  for (const [config, message] of table) {
    const credentials = await configured(config);
    await assert.rejects(credentials.find('h'), (error) => {
      assert.match(messageOf(error), message);
      assert.equal(codeOf(error), 'FailedPrecondition');
      return true;
    });
  }
});

test('dockerConfig.check looks at all logins without asking helpers, and names the first that cannot be read', async () => {
  const cases: readonly [config: object, message: RegExp | undefined][] = [
    [{}, undefined],
    [{ credHelpers: { 'a.io': 'there' }, auths: { 'b.io': auth('u', 'p'), 'c.io': {} } }, undefined],
    [
      { credHelpers: { 'a.io': 'there', 'b.io': 'missing' } },
      /the credentials for "b\.io" from "docker-credential-missing": there is no such program/,
    ],
    [{ credHelpers: { 'a.io': '../sh' } }, /Cannot run the credential helper "\.\.\/sh": it is not the name/],
    [{ auths: { 'b.io': auth('u', 'p'), 'c.io': { auth: '!!!' } } }, /the credentials for "c\.io" in ".*config\.json"/],
    [{ auths: 3, credHelpers: [] }, undefined],
  ];
  for (const [config, message] of cases) {
    await configured(config);
    const { source } = byHost({ DOCKER_CONFIG: directory, PATH: '' });
    const checked = source.check!((name) => name === 'docker-credential-there');
    await (message === undefined ? checked : assert.rejects(checked, { message }));
  }
});
