import { STATUS_CODES } from 'node:http';
import { errnoOf, messageOf } from '../../errors.ts';
import { isLoopback } from '../hosts/addresses.ts';

/** Why no answer came. */
export interface NetworkReason {
  /** The code of the system, of Node or of OpenSSL, if there is one. */
  readonly code: string | undefined;
  /** In our words, if the reason is known. */
  readonly text: string;
  /**
   * Whether no retry helps: a name that does not exist, a certificate, a request that we built wrongly, a closed
   * client.
   */
  readonly isPermanent: boolean;
  /** What a person can do; undefined if that is not known. */
  readonly hint: string | undefined;
  /** Whether the cause adds nothing, or says it in words for users of Node. */
  readonly isAll: boolean;
}

interface Row {
  readonly codes: readonly string[] | RegExp;
  readonly text?: string;
  readonly isPermanent?: true;
  /** The message of the cause adds nothing. */
  readonly isAll?: true;
  readonly hint?: 'name' | 'reach' | 'plain' | 'authority' | 'renew' | 'rename' | 'version' | 'client';
}

/**
 * How TLS may fail: X.509 (Node's names for OpenSSL's X509_V_ERR_…), alerts (RFC 8446, 6.2), and servers that do not
 * speak TLS at all.
 */
const tlsRows: readonly Row[] = [
  { codes: ['DEPTH_ZERO_SELF_SIGNED_CERT'], text: 'its self-signed certificate is not trusted', hint: 'authority' },
  {
    codes: ['SELF_SIGNED_CERT_IN_CHAIN'],
    text: 'its certificate comes from a self-signed certificate authority that is not trusted',
    hint: 'authority',
  },
  {
    codes: ['UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    text: 'its certificate comes from a certificate authority that is not known, or an intermediate certificate is missing',
    hint: 'authority',
  },
  {
    codes: ['CERT_UNTRUSTED', 'CERT_REJECTED', 'INVALID_CA'],
    text: 'its certificate is not trusted',
    hint: 'authority',
  },
  { codes: ['CERT_HAS_EXPIRED'], text: 'its certificate has expired', hint: 'renew' },
  { codes: ['CERT_NOT_YET_VALID'], text: 'its certificate is not valid yet', hint: 'renew' },
  { codes: ['CERT_REVOKED'], text: 'its certificate was revoked', hint: 'renew' },
  {
    codes: ['ERR_TLS_CERT_ALTNAME_INVALID', 'HOSTNAME_MISMATCH'],
    text: 'its certificate is for another name',
    hint: 'rename',
  },
  {
    codes: /^(?:CERT_|ERROR_IN_CERT_|UNABLE_TO_|INVALID_PURPOSE|PATH_LENGTH)/,
    text: 'its certificate cannot be used',
    hint: 'renew',
  },
  {
    codes: ['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'ERR_SSL_HTTP_REQUEST'],
    text: 'the server speaks plain HTTP, not TLS, or another protocol',
    hint: 'plain',
  },
  {
    codes: /_ALERT_(?:HANDSHAKE_FAILURE|.*CERTIFICATE.*|UNKNOWN_CA|ACCESS_DENIED)$/,
    text: 'the server does not take this client in TLS: it may want a client certificate, or another one',
    hint: 'client',
  },
  {
    codes: /^ERR_SSL_(?:.*PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|.*DH_KEY_TOO_SMALL|NO_(?:PROTOCOLS|CIPHERS).*)$/,
    text: 'the server and this client have no version of TLS in common that is safe',
    hint: 'version',
  },
  { codes: /_UNRECOGNIZED_NAME$/, text: 'the server has no certificate for this name', hint: 'name' },
  { codes: /^ERR_TLS_/, text: 'TLS with the server failed' },
];

/** Failures of TLS that another try may cure. */
const passingTls: Row = { codes: /^(?:ERR_SSL_|ERR_OSSL_|EPROTO$)/, text: 'TLS with the server failed' };

const rows: readonly Row[] = [
  { codes: ['ENOTFOUND'], text: 'the host name does not exist', isPermanent: true, hint: 'name' },
  { codes: ['EAI_AGAIN'], text: 'the host name could not be looked up', hint: 'name' },
  { codes: ['ECONNREFUSED'], text: 'the connection was refused', hint: 'reach' },
  { codes: ['ECONNRESET'], text: 'the connection was reset', isAll: true },
  { codes: ['UND_ERR_SOCKET'], text: 'the server closed the connection' },
  { codes: ['EHOSTUNREACH', 'ENETUNREACH'], text: 'there is no way to the server', hint: 'reach' },
  { codes: ['UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT'], text: 'the connection was not made in time', hint: 'reach' },
  { codes: ['UND_ERR_HEADERS_TIMEOUT'], text: 'no answer came in time', isAll: true, hint: 'reach' },
  { codes: ['UND_ERR_BODY_TIMEOUT'], text: 'the answer stopped in the middle', isAll: true },
  {
    codes: [
      'EACCES',
      'UND_ERR_INVALID_ARG',
      'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH',
      'UND_ERR_DESTROYED',
      'UND_ERR_CLOSED',
    ],
    isPermanent: true,
  },
];

/** Errors for a proxy that cannot be reached, or cannot reach the registry. */
const proxyCodes = new Set(['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT']);
const proxyLoginHint = 'give the proxy its user and password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT';
const proxyHint =
  'check HTTPS_PROXY and HTTP_PROXY, and that the proxy may reach the registry; NO_PROXY lists what is reached without it';

/** The code of a failure in which the answer was not HTTP. */
export const notHttp = 'NOT_HTTP';

/** Longest list of names of a certificate in a message. */
const maxNamesLength = 200;

/** Why a request to `url` failed with `cause`. `isProxied` says whether it was sent to a proxy. */
export function networkReason(cause: unknown, url: URL, isProxied = false): NetworkReason {
  const known = { isPermanent: false, hint: undefined, isAll: true };
  if (isParserError(cause)) return { code: notHttp, text: 'the answer is not HTTP', ...known };
  if (cause instanceof Error && /before secure TLS connection was established/.test(cause.message))
    return { code: errnoOf(cause), text: 'the server closed the connection before TLS was established', ...known };
  const code = codeOfAny(cause);
  const status = code === 'UND_ERR_ABORTED' ? /Proxy response \((\d{3})\)/.exec(messageOf(cause))?.[1] : undefined;
  if (status !== undefined) {
    const text = `the proxy answered ${status} ${STATUS_CODES[status] ?? ''}`.trimEnd();
    return { ...known, code, text, hint: status === '407' ? proxyLoginHint : proxyHint };
  }
  const tls = code === undefined ? undefined : rowOf(code, tlsRows);
  const row = tls ?? (code === undefined ? undefined : (rowOf(code, rows) ?? rowOf(code, [passingTls])));
  const hint = hintOf(row?.hint, url);
  const isProxys = isProxied && code !== undefined && proxyCodes.has(code);
  return {
    code,
    text: row?.text === undefined ? messageOf(cause) : `${row.text}${namesOf(cause)} (${code})`,
    isPermanent: tls !== undefined || row?.isPermanent === true,
    hint: isProxys ? proxyHint : hint,
    isAll: tls !== undefined || row === passingTls || row?.isAll === true,
  };
}

/** Told by its name: undici takes longer to load than Node, and a command that asks no registry need not load it. */
function isParserError(cause: unknown): boolean {
  return cause instanceof Error && cause.name === 'HTTPParserError';
}

function codeOfAny(cause: unknown): string | undefined {
  const code = errnoOf(cause);
  if (code !== undefined || !(cause instanceof AggregateError)) return code;
  return cause.errors.map((inner: unknown) => errnoOf(inner)).find((inner) => inner !== undefined);
}

function rowOf(code: string, table: readonly Row[]): Row | undefined {
  return table.find(({ codes }) => (codes instanceof RegExp ? codes.test(code) : codes.includes(code)));
}

function hintOf(hint: Row['hint'], { hostname }: URL): string | undefined {
  const isHere = isLoopback(hostname);
  const proxy = isHere ? '' : '; if there is a proxy, set HTTPS_PROXY';
  switch (hint) {
    case 'name':
      return `check the name of the registry, and DNS${proxy}`;
    case 'reach':
      return `check that the registry runs there${isHere ? ', on this machine, and at that port' : ' and can be reached from here'}${proxy}`;
    case 'plain':
      return 'say so with server = "http://HOST" in /etc/containerd/certs.d/HOST/hosts.toml';
    case 'authority':
      return 'give its certificate authority with ca = "FILE" in /etc/containerd/certs.d/HOST/hosts.toml';
    case 'renew':
      return 'have the certificate of the server renewed, if the clock of this machine is right';
    case 'rename':
      return 'use a name that the certificate is for, or have the server get one for this name';
    case 'version':
      return 'have TLS 1.2 or 1.3 enabled at the server';
    case 'client':
      return 'name it with client = [["CERT", "KEY"]] in the hosts.toml of this registry';
    case undefined:
      return undefined;
  }
}

/** The names in a certificate for other servers. */
function namesOf(cause: unknown): string {
  const certificate: unknown = cause instanceof Error && 'cert' in cause ? cause.cert : undefined;
  const names = certificate instanceof Object && 'subjectaltname' in certificate ? certificate.subjectaltname : '';
  if (typeof names !== 'string' || names === '') return '';
  return `, ${JSON.stringify(names.replace(/[^\x20-\x7e]/g, ' ').slice(0, maxNamesLength))}`;
}
