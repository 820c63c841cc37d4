import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hintFor } from '../../../src/cli/error-hint.ts';
import { formatError } from '../../../src/cli/output.ts';
import { LazypullError } from '../../../src/errors.ts';
import { UsageError } from '../../../src/cli/usage-error.ts';
import { networkError, RegistryError, statusError } from '../../../src/registry/errors.ts';

const asked = { method: 'GET', url: new URL('https://registry.example/v2/app/manifests/1') };

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: it failed`), { code, syscall: 'open' });
}

describe('hintFor', () => {
  it('tells what to do about a registry that cannot be reached or trusted', () => {
    const hintOf = (code: string) => hintFor(networkError(asked, systemError(code))) ?? '';
    assert.match(hintOf('ENOTFOUND'), /name of the registry/);
    assert.match(hintOf('ECONNREFUSED'), /runs there/);
    assert.match(hintOf('DEPTH_ZERO_SELF_SIGNED_CERT'), /ca = "FILE"/);
    assert.match(hintOf('ERR_SSL_WRONG_VERSION_NUMBER'), /server = "http:\/\/HOST"/);
    const proxied = networkError(asked, systemError('ECONNREFUSED'), 'proxy.example:3128');
    assert.match(proxied.message, /manifests\/1" through the proxy "proxy\.example:3128": the connection was refused/);
    assert.match(hintFor(proxied) ?? '', /^check HTTPS_PROXY/);
    assert.match(hintFor(networkError(asked, systemError('SELF_SIGNED_CERT_IN_CHAIN'), 'p:1')) ?? '', /ca = "FILE"/);
    const alert = networkError(asked, systemError('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'));
    assert.match(hintFor(alert) ?? '', /client = \[\["CERT", "KEY"\]\]/);
    const both = new AggregateError([systemError('ECONNREFUSED'), systemError('ECONNREFUSED')]);
    assert.match(hintFor(networkError(asked, both)) ?? '', /runs there/);
  });

  it('tells what to do about what a registry says', () => {
    const hintOf = (status: number) => hintFor(statusError(asked, status, {})) ?? '';
    assert.match(hintOf(401), /docker login/);
    assert.match(hintOf(403), /docker login/);
    assert.equal(hintFor(statusError(asked, 401, { hint: 'run "docker login"' })), 'run "docker login"');
    assert.match(hintOf(404), /name and the tag/);
    assert.match(hintOf(429), /limits/);
    assert.match(hintOf(503), /later/);
  });

  it('tells what to do about what the system refuses, also deep in the causes', () => {
    const wrapped = new LazypullError('Unavailable', 'Cannot keep it', { cause: systemError('ENOSPC') });
    assert.match(hintFor(wrapped) ?? '', /free some space/);
    assert.match(hintFor(systemError('EACCES')) ?? '', /as root/);
    assert.equal(hintFor(new LazypullError('NotFound', 'Cannot find "/x" in the image')), undefined);
  });

  it('says --help about the words of the user alone, not about the content of an image', () => {
    assert.match(hintFor(new UsageError('InvalidArgument', 'Cannot use "x"')) ?? '', /add --help/);
    const content = ['InvalidArgument', 'DataLoss', 'Unimplemented', 'ResourceExhausted'] as const;
    for (const code of content) {
      assert.doesNotMatch(hintFor(new LazypullError(code, 'The manifest is not valid')) ?? '', /--help|login/, code);
    }
    assert.match(hintFor(new LazypullError('DataLoss', 'Cannot read the tar archive')) ?? '', /the image is damaged/);
    assert.match(hintFor(new RegistryError('DataLoss', 'It is another one')) ?? '', /does not match its digest/);
  });

  it('takes the hint of an error before that of its class, also from a cause', () => {
    const inner = new LazypullError('InvalidArgument', 'It is wrong', { hint: 'mend it' });
    assert.equal(hintFor(inner), 'mend it');
    assert.equal(hintFor(new LazypullError('Unauthenticated', 'Cannot go on', { cause: inner })), 'mend it');
    assert.equal(hintFor(new LazypullError('InvalidArgument', 'It says so itself', { hint: '' })), undefined);
  });
});

describe('formatError', () => {
  it('has a stack for what nobody expected, and none for what the system refused', () => {
    assert.match(
      formatError('lazypull', new TypeError('odd')),
      /^lazypull: This is a defect .*TypeError: odd\n {4}at /s,
    );
    assert.equal(
      formatError('lazypull', systemError('EACCES')),
      'lazypull: Cannot go on: EACCES: it failed\nhint: run it as root, or as a user with the right to do this\n',
    );
  });
});
