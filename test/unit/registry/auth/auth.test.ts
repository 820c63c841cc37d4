import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hintFor } from '../../../../src/cli/error-hint.ts';
import { codeOf, type ErrorCode, explain } from '../../../../src/errors.ts';
import { RegistryClient } from '../../../../src/registry/client.ts';
import type {
  Credential,
  CredentialSource,
  Wanted,
} from '../../../../src/registry/auth/credentials/credential-source.ts';
import { dockerConfig } from '../../../../src/registry/auth/credentials/docker-config.ts';
import { parseReference } from '../../../../src/registry/reference.ts';
import { startRegistry, type TestRegistry } from '../../../support/registry.ts';

const bytes = Buffer.from('some bytes of a layer');

class TestCredentials implements CredentialSource {
  readonly place = '/somewhere/config.json';
  asked = 0;
  wanted: Wanted | undefined;
  credential: Credential | Error | undefined;

  constructor(credential?: Credential | Error) {
    this.credential = credential;
  }

  advice(host: string, isFound: boolean): string {
    return dockerConfig({ DOCKER_CONFIG: '/somewhere' }).advice(host, isFound);
  }

  find(wanted: Wanted): Promise<Credential | undefined> {
    this.asked++;
    this.wanted = wanted;
    return this.credential instanceof Error ? Promise.reject(this.credential) : Promise.resolve(this.credential);
  }
}

const me: Credential & { kind: 'password' } = { kind: 'password', username: 'me', password: 'pass:word' };
const users = { me: 'pass:word' };

function clientWith(...credentials: CredentialSource[]): RegistryClient {
  return new RegistryClient({ credentials, retry: { tries: 3, minDelayMs: 1, maxDelayMs: 2 }, environment: {} });
}

function tail(client: RegistryClient, registry: TestRegistry, repository = 'app'): Promise<unknown> {
  return client.blob(parseReference(`${registry.host}/${repository}`), registry.addBlob(bytes)).tail(5);
}

function steps(registry: TestRegistry): string[] {
  return registry.requests.map(({ on, method, status }) => `${on} ${method} ${status}`);
}

function fails(promise: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  return assert.rejects(promise, (error) => {
    assert.match(explain(error), message);
    assert.equal(codeOf(error), code);
    return true;
  });
}

test('Authorizer fetches a token once for a repository, and without a 401 for the next one', async () => {
  await using registry = await startRegistry({ auth: 'token', users });
  await using client = clientWith(new TestCredentials(me));
  await tail(client, registry);
  assert.deepEqual(steps(registry), ['registry GET 401', 'token GET 200', 'registry GET 206']);
  const token = new URL(registry.requests[1]!.path, 'http://x');
  assert.equal(token.searchParams.get('service'), 'test registry');
  assert.equal(token.searchParams.get('scope'), 'repository:app:pull');
  registry.resetCounts();
  await tail(client, registry);
  await tail(client, registry);
  assert.deepEqual(steps(registry), ['registry GET 206', 'registry GET 206']);
  registry.resetCounts();
  await tail(client, registry, 'other');
  assert.deepEqual(steps(registry), ['token GET 200', 'registry GET 206']);
});

test('Authorizer renews a token beside a request in the last third of its life', async () => {
  await using registry = await startRegistry({ auth: 'token', users, tokenSeconds: 6 });
  await using client = clientWith(new TestCredentials(me));
  await tail(client, registry);
  registry.resetCounts();
  registry.script({ on: 'token' }, { kind: 'stall', after: -1 });
  for (; registry.count({ on: 'token' }) === 0; await sleep(20)) await tail(client, registry);
  assert.equal(registry.requests.find(({ on }) => on === 'token')!.bytes, 0, 'no request waited for it');
});

test('Authorizer gets a token for anonymous readers too', async () => {
  await using registry = await startRegistry({ auth: 'token', anonymousPull: true });
  await using client = clientWith(new TestCredentials());
  await tail(client, registry);
  assert.equal(registry.requests[1]?.authorization, undefined);
});

test('Authorizer exchanges an identity token by POST', async () => {
  await using registry = await startRegistry({ auth: 'token', users });
  await using client = clientWith(new TestCredentials({ kind: 'identity-token', token: 'pass:word' }));
  await tail(client, registry);
  assert.deepEqual(steps(registry), ['registry GET 401', 'token POST 200', 'registry GET 206']);
  assert.equal(registry.requests[1]?.authorization, undefined);
});

test('Authorizer fetches one token for requests at the same time', async () => {
  await using registry = await startRegistry({ auth: 'token', users });
  const credentials = new TestCredentials(me);
  await using client = clientWith(credentials);
  registry.script({ on: 'token' }, { kind: 'delay', ms: 100 });
  await Promise.all(Array.from({ length: 30 }, () => tail(client, registry)));
  assert.equal(registry.count({ on: 'token' }), 1);
  assert.equal(credentials.asked, 1);
});

test('Authorizer does not take the token from others if one caller gives up', async () => {
  await using registry = await startRegistry({ auth: 'token', users });
  await using client = clientWith(new TestCredentials(me));
  registry.script({ on: 'token' }, { kind: 'delay', ms: 150 });
  const blob = client.blob(parseReference(`${registry.host}/app`), registry.addBlob(bytes));
  const controller = new AbortController();
  const first = blob.tail(5, controller.signal);
  const second = blob.tail(5);
  setTimeout(() => controller.abort(), 60);
  await fails(first, 'Canceled', /./);
  await second;
  assert.equal(registry.count({ on: 'token' }), 1);
});

test('Authorizer renews a token before it expires and if it is refused in mid-life', async () => {
  await using registry = await startRegistry({ auth: 'token', users, tokenSeconds: 0.3 });
  await using client = clientWith(new TestCredentials(me));
  await tail(client, registry);
  await new Promise((resolve) => setTimeout(resolve, 320));
  registry.resetCounts();
  await tail(client, registry);
  assert.deepEqual(steps(registry), ['token GET 200', 'registry GET 206']);

  await using lasting = await startRegistry({ auth: 'token', users });
  await tail(client, lasting);
  lasting.revokeTokens();
  lasting.resetCounts();
  await Promise.all([tail(client, lasting), tail(client, lasting)]);
  assert.equal(lasting.count({ on: 'token' }), 1);
  assert.equal(lasting.count({ on: 'registry' }), 4);
});

test('Authorizer rejects a token that never suits after one renewal', async () => {
  await using registry = await startRegistry({ auth: 'token', users });
  await using client = clientWith(new TestCredentials(me));
  await tail(client, registry);
  registry.resetCounts();
  const headers = {
    'www-authenticate': `Bearer realm="http://${registry.host}/token",service="test registry",error="insufficient_scope"`,
  };
  registry.script(
    { on: 'registry' },
    { kind: 'status', status: 401, headers },
    { kind: 'status', status: 401, headers },
  );
  await fails(
    tail(client, registry),
    'Unauthenticated',
    /401 Unauthorized; the credentials for "127\.0\.0\.1:\d+" in "\/somewhere\/config\.json" were not enough: run "docker login 127\.0\.0\.1:\d+" as the user that runs lazypull, or set its DOCKER_CONFIG/,
  );
  assert.deepEqual(steps(registry), ['registry GET 401', 'token GET 200', 'registry GET 401']);
});

test('Authorizer names the token server, its words and the file for wrong credentials, and sees better ones', async () => {
  await using registry = await startRegistry({ auth: 'token', users });
  const credentials = new TestCredentials({ kind: 'password', username: 'me', password: 'wrong' });
  await using client = clientWith(credentials);
  await fails(
    tail(client, registry),
    'Unauthenticated',
    /^Cannot GET "http:\/\/127\.0\.0\.1:\d+\/token": 401 Unauthorized \(UNAUTHORIZED: incorrect username or password\); the credentials for .* were not enough: run "docker login/,
  );
  credentials.credential = me;
  await tail(client, registry);
});

test('Authorizer drops the token at a 403, so that new credentials count', async () => {
  await using registry = await startRegistry({ auth: 'token', users, anonymousPull: true });
  await using client = clientWith(new TestCredentials());
  await tail(client, registry);
  registry.script({ on: 'registry' }, { kind: 'status', status: 403 });
  await fails(
    tail(client, registry),
    'PermissionDenied',
    /403 Forbidden; there are no credentials for .* run "docker login/,
  );
  registry.resetCounts();
  await tail(client, registry);
  assert.deepEqual(steps(registry), ['token GET 200', 'registry GET 206']);
});

test('Authorizer tries the token server again after passing errors, and refuses an answer that is no token', async () => {
  await using registry = await startRegistry({ auth: 'token', users });
  await using client = clientWith(new TestCredentials(me));
  registry.script({ on: 'token' }, { kind: 'status', status: 503 }, { kind: 'reset', after: -1 });
  await tail(client, registry);
  registry.revokeTokens();
  for (const body of ['', '[]', '{"token":""}', '{"token":"a\\nb"}', '{"token":5}']) {
    const answer = { kind: 'status', status: 200, body } as const;
    // it is asked again once the registry has said again what it wants
    registry.script({ on: 'token' }, answer, answer);
    await fails(tail(client, registry), 'FailedPrecondition', /the token server answered without a token/);
  }
});

test('Authorizer asks a server again that once wanted tokens from nowhere', async () => {
  await using registry = await startRegistry({ auth: 'token', users });
  await using client = clientWith(new TestCredentials(me));
  const headers = { 'www-authenticate': `Bearer realm="http://${registry.host}/nowhere"` };
  registry.script({ on: 'registry' }, { kind: 'status', status: 401, headers });
  await fails(tail(client, registry), 'Unauthenticated', /nowhere/);
  await tail(client, registry);
});

test('Authorizer does not follow the realm to where no redirect would be followed', async () => {
  for (const [realm, why] of [
    ['http://169.254.169.254/latest', /link-local/],
    ['ftp://host/', /neither http nor https/],
    ['//[', /no valid URL/],
  ] as const) {
    await using registry = await startRegistry();
    await using client = clientWith(new TestCredentials(me));
    registry.script({}, { kind: 'status', status: 401, headers: { 'www-authenticate': `Bearer realm="${realm}"` } });
    await fails(tail(client, registry), 'PermissionDenied', why);
  }
});

test('Authorizer sends basic credentials once a server has asked for them, and looks for others if they are refused', async () => {
  await using registry = await startRegistry({ auth: 'basic', users });
  const credentials = new TestCredentials();
  await using client = clientWith(credentials);
  await fails(
    tail(client, registry),
    'Unauthenticated',
    /401 Unauthorized \(UNAUTHORIZED: authentication required\); there are no credentials for "127\.0\.0\.1:\d+" in "\/somewhere\/config\.json", and BuildKit and containerd do not pass theirs on: run "docker login 127\.0\.0\.1:\d+" as the user that runs lazypull, or set its DOCKER_CONFIG to a directory with them; in a container, mount or copy the config\.json of that login to "\/somewhere\/config\.json"/,
  );
  credentials.credential = { kind: 'password', username: 'me', password: 'wrong' };
  await fails(tail(client, registry), 'Unauthenticated', /docker login/);
  credentials.credential = me;
  registry.resetCounts();
  await tail(client, registry);
  await tail(client, registry, 'other');
  assert.deepEqual(steps(registry), ['registry GET 206', 'registry GET 206']);
  assert.equal(registry.requests[1]?.authorization, `Basic ${Buffer.from('me:pass:word').toString('base64')}`);
});

test('Authorizer reports broken credentials only if they matter, not for a public image', async () => {
  await using open = await startRegistry({ auth: 'token', users, anonymousPull: true });
  await using closed = await startRegistry({ auth: 'token', users });
  await using client = clientWith(new TestCredentials(new Error('the helper is gone')));
  await tail(client, open);
  await fails(
    tail(client, closed),
    'Unauthenticated',
    /^the helper is gone; so "127\.0\.0\.1:\d+" was asked without credentials: Cannot GET ".*\/token": 401 Unauthorized/,
  );
});

test('a source of credentials is asked by host, repository and labels, after those before it', async () => {
  await using registry = await startRegistry({ auth: 'token', users });
  const toy: CredentialSource = {
    place: 'a toy',
    find: ({ host, repository }) => {
      asked.push(`${host} ${repository}`);
      return Promise.resolve(repository === 'app' ? me : undefined);
    },
    advice: (host, isFound) => `wind up the toy for "${host}"${isFound ? ' again' : ''}`,
  };
  const asked: string[] = [];
  const first = new TestCredentials();
  await using client = clientWith(first, toy);
  await tail(client, registry);
  assert.deepEqual(asked, [`${registry.host} app`]);
  assert.deepEqual(first.wanted, { host: registry.host, repository: 'app', labels: {} });
  await using labelled = clientWith(first);
  const labels = { 'example.com/pod': 'a' };
  await fails(tail(labelled.withLabels(labels), registry), 'Unauthenticated', /there are no credentials/);
  assert.deepEqual(first.wanted, { host: registry.host, repository: 'app', labels });
  await fails(
    tail(client, registry, 'other'),
    'Unauthenticated',
    /there are no credentials for .* with them; in a container, .*; or wind up the toy for "127\.0\.0\.1:\d+"$/,
  );
  first.credential = new Error('the helper is gone');
  await using another = clientWith(first, toy);
  await tail(another, registry);
  first.credential = undefined;
  await using refused = clientWith(first, { ...toy, find: () => Promise.resolve({ ...me, password: 'wrong' }) });
  await fails(tail(refused, registry), 'Unauthenticated', /; wind up the toy for ".*" again$/);
});

test('Authorizer says what is wrong with the credentials first, and what to do about it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-credentials-'));
  const file = join(directory, 'config.json');
  await using token = await startRegistry({ auth: 'token', users });
  await using basic = await startRegistry({ auth: 'basic', users });
  await using client = clientWith(dockerConfig({ DOCKER_CONFIG: directory, PATH: '/nonexistent' }));
  for (const [text, message, hint] of [
    [
      '{"auths": {',
      /^Cannot read the credentials in ".*config\.json": it is not a JSON object.*; so "127.* 401 /,
      /correct the file/,
    ],
    [
      '{"credsStore":"gone"}',
      /^Cannot get the credentials for ".*" from "docker-credential-gone": there is no such program in PATH; so "127.* 401 /,
      /install "docker-credential-gone"/,
    ],
  ] as const) {
    await writeFile(file, text);
    for (const registry of [token, basic])
      await assert.rejects(tail(client, registry), (error) => {
        assert.match(explain(error), message);
        assert.match(hintFor(error) ?? '', hint);
        return codeOf(error) === 'Unauthenticated';
      });
  }
  await rm(directory, { recursive: true });
});

test('Authorizer sends no credentials to the storage behind a redirect, nor to a mirror of another name', async () => {
  await using registry = await startRegistry({ auth: 'basic', users, redirect: true });
  await using client = clientWith(new TestCredentials(me));
  await tail(client, registry);
  assert.deepEqual(steps(registry), ['registry GET 401', 'registry GET 307', 'storage GET 206']);
  assert.equal(registry.requests[2]?.authorization, undefined);
});
