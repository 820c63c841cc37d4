import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { hintFor } from '../../../../src/cli/error-hint.ts';
import { LazypullError, messageOf } from '../../../../src/errors.ts';
import { RegistryClient } from '../../../../src/registry/client.ts';
import { networkError, type RegistryError } from '../../../../src/registry/errors.ts';
import { parseReference } from '../../../../src/registry/reference.ts';
import { startRegistry } from '../../../support/registry.ts';

/** Words of Node and OpenSSL for their own users. */
const foreign = /node|--use-system-ca|NODE_|root CA|altname|openssl|:error:|ssl3_|0A000|routines/i;

/** A key and a certificate that openssl makes with these options, for a server. */
async function certificate(t: TestContext, options: readonly string[]): Promise<{ key: string; cert: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-certificate-'));
  t.after(() => rm(directory, { recursive: true }));
  const [key, cert] = [join(directory, 'key'), join(directory, 'cert')];
  const common = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await promisify(execFile)('openssl', [...common, '-keyout', key, '-out', cert, '-subj', '/CN=x', ...options]);
  return { key: await readFile(key, 'utf8'), cert: await readFile(cert, 'utf8') };
}

/** What a client says of a server with this certificate; `isTrusted` makes it an authority of its own. */
async function complaintAbout(tls: { key: string; cert: string }, isTrusted: boolean): Promise<RegistryError> {
  await using registry = await startRegistry({ tls });
  await using client = new RegistryClient({
    hosts: { host: { [registry.host]: { mirrors: [{ host: `https://${registry.host}` }] } } },
    certificates: isTrusted ? [tls.cert] : [],
    retry: { tries: 1 },
    environment: {},
  });
  return await client.manifest(parseReference(`${registry.host}/app:1`)).then(
    () => assert.fail('it was taken'),
    (error: RegistryError) => error,
  );
}

test('networkReason explains a certificate for those that run the registry, not for those that run Node', async (t) => {
  const here = ['-addext', 'subjectAltName=IP:127.0.0.1'];
  for (const [options, isTrusted, message, hint] of [
    [here, false, /its self-signed certificate is not trusted \(DEPTH_ZERO_SELF_SIGNED_CERT\)$/, /ca = "FILE"/],
    [
      ['-addext', 'subjectAltName=DNS:other.example'],
      true,
      /for another name, "DNS:other\.example" \(ERR_TLS/,
      /use a name/,
    ],
  ] as const) {
    const tls = await certificate(t, options);
    const error = await complaintAbout(tls, isTrusted);
    assert.match(messageOf(error), message);
    assert.doesNotMatch(messageOf(error).replace(/\([A-Z_]+\)/g, ''), foreign);
    assert.match(hintFor(error) ?? '', hint);
    assert.equal(error.retryable, false);
  }
});

const asked = { method: 'GET', url: new URL('https://registry.example/v2/') };

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

test('networkReason keeps the words of Node and OpenSSL out of messages, whatever the code is', () => {
  for (const [code, words, expected] of [
    [
      'SELF_SIGNED_CERT_IN_CHAIN',
      'self-signed certificate in certificate chain; if the root CA is installed locally, try running Node.js with --use-system-ca',
      /self-signed certificate authority/,
    ],
    [
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'unable to verify the first certificate; if the root CA is installed locally, try running Node.js with --use-system-ca',
      /authority that is not known/,
    ],
    [
      'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
      'unable to get local issuer certificate; try Node.js',
      /authority that is not known/,
    ],
    ['CERT_HAS_EXPIRED', 'certificate has expired (openssl)', /has expired/],
    ['CERT_NOT_YET_VALID', 'certificate is not yet valid (openssl)', /not valid yet/],
    ['CERT_SIGNATURE_FAILURE', 'certificate signature failure (openssl)', /cannot be used/],
    [
      'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
      '00F7:error:0A00042E:SSL routines:ssl3_read_bytes:tlsv1 alert',
      /version of TLS in common/,
    ],
    [
      'ERR_SSL_UNSUPPORTED_PROTOCOL',
      '00F7:error:0A000102:SSL routines::unsupported protocol',
      /version of TLS in common/,
    ],
    ['ERR_SSL_WRONG_VERSION_NUMBER', '00F7:error:0A00010B:SSL routines::wrong version number', /plain HTTP, not TLS/],
    [
      'ERR_SSL_UNEXPECTED_MESSAGE',
      '00F7:error:0A0000F4:SSL routines::unexpected message',
      /TLS with the server failed/,
    ],
    ['ERR_SSL_TLSV1_UNRECOGNIZED_NAME', '00F7:error:0A000458:SSL routines', /no certificate for this name/],
    ['ECONNRESET', 'read ECONNRESET', /^Cannot GET "\S+": the connection was reset \(ECONNRESET\)$/],
    ['EPROTO', 'write EPROTO 00F7:error:0A000410:SSL routines', /TLS with the server failed/],
    ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', '00F7:error:0A000410:SSL routines:ssl3_read_bytes', /client certificate/],
    [
      'ECONNRESET',
      'Client network socket disconnected before secure TLS connection was established',
      /closed the connection before TLS/,
    ],
  ] as const) {
    const error = networkError(asked, failure(code, words));
    assert.match(messageOf(error), expected);
    assert.doesNotMatch(messageOf(error).replace(/\([A-Z0-9_]+\)/g, ''), foreign, code);
  }
});

test('networkReason does not try again what only the server can mend', () => {
  for (const [code, hint] of [
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', /TLS 1\.2/],
    ['ERR_SSL_TLSV1_UNRECOGNIZED_NAME', /check the name/],
  ] as const) {
    assert.match(hintFor(networkError(asked, failure(code, 'x'))) ?? '', hint);
  }
});

test('networkReason does not mention proxies for this machine', () => {
  const codes = ['ECONNREFUSED', 'ENOTFOUND', 'ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT'];
  for (const code of codes) {
    const hintAt = (url: string): string =>
      hintFor(networkError({ method: 'GET', url: new URL(url) }, failure(code, 'x'))) ?? '';
    assert.match(hintAt('https://registry.example/v2/'), /HTTPS_PROXY/, code);
    for (const here of [
      'http://localhost:5000/',
      'http://127.0.0.1:5000/',
      'http://[::1]:5000/',
      'https://127.9.9.9/',
    ]) {
      assert.notEqual(hintAt(here), '');
      assert.doesNotMatch(hintAt(here), /PROXY/, `${code} ${here}`);
    }
  }
});

test('networkReason keeps the hint if another server is asked, and in outer errors', () => {
  const error = networkError(asked, failure('ECONNREFUSED', 'x'));
  assert.equal(error.toBeRetried().hint, error.hint);
  assert.equal(hintFor(new LazypullError('Unavailable', 'Cannot read the layer', { cause: error })), error.hint);
});

test('networkReason has the answer of a proxy as it is, and what to do about it', async (t) => {
  for (const [status, message, hint] of [
    [403, /through the proxy "127.*": the proxy answered 403 Forbidden$/, /the proxy may reach the registry/],
    [407, /the proxy answered 407 Proxy Authentication Required$/, /USER:PASSWORD/],
  ] as const) {
    const proxy = createServer();
    proxy.on('connect', (_, socket) => socket.end(`HTTP/1.1 ${status} x\r\n\r\n`));
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    t.after(() => proxy.close());
    const https_proxy = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    await using client = new RegistryClient({ retry: { tries: 1 }, environment: { https_proxy } });
    await assert.rejects(client.manifest(parseReference('registry.invalid/app:1')), (error) => {
      assert.match(messageOf(error), message);
      assert.match(hintFor(error) ?? '', hint);
      return true;
    });
  }
});
