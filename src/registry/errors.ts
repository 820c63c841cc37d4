import { STATUS_CODES } from 'node:http';
import { errors } from 'undici';
import { type ErrorCode, errnoOf, LazypullError, messageOf } from '../errors.ts';

/** An error of a request to a registry. `retryable` says whether the same request may well succeed later. */
export class RegistryError extends LazypullError {
  /** The HTTP status, where there was an answer. */
  readonly status: number | undefined;
  readonly retryable: boolean;
  /** What the server asked for with Retry-After. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    about: {
      status?: number | undefined;
      retryable?: boolean | undefined;
      retryAfterMs?: number | undefined;
      cause?: unknown;
    } = {},
  ) {
    super(code, message, { cause: about.cause });
    this.name = 'RegistryError';
    this.status = about.status;
    this.retryable = about.retryable ?? false;
    this.retryAfterMs = about.retryAfterMs;
  }

  /** The same, where another server may do better. */
  toBeRetried(): RegistryError {
    return new RegistryError(this.code, this.message, { status: this.status, retryable: true, cause: this.cause });
  }
}

/** A request as error messages name it: method and URL, without the query and user info, which may hold secrets. */
export interface Asked {
  readonly method: string;
  readonly url: URL;
}

/** `GET "https://host/path"`. */
export function nameOf(asked: Asked): string {
  return `${asked.method} "${asked.url.origin}${asked.url.pathname}"`;
}

/** The error for an answer with an unexpected status. `detail` is what the server said, `hint` what to do. */
export function statusError(
  asked: Asked,
  status: number,
  about: { detail?: string | undefined; hint?: string | undefined; retryAfterMs?: number | undefined; cause?: unknown },
): RegistryError {
  const said = about.detail ? ` (${about.detail})` : '';
  const hint = about.hint ? `; ${about.hint}` : '';
  const text = STATUS_CODES[status] ?? 'unknown status';
  return new RegistryError(codeOfStatus(status), `Cannot ${nameOf(asked)}: ${status} ${text}${said}${hint}`, {
    status,
    retryable: isRetryableStatus(status),
    retryAfterMs: about.retryAfterMs,
    cause: about.cause,
  });
}

/** The error for a request or a body that the network broke, and that may be tried again unless the cause cannot pass. `proxy` is where it was sent. */
export function networkError(asked: Asked, cause: unknown, proxy?: string): RegistryError {
  const code = errnoOf(cause);
  const retryable =
    code === undefined || !(permanentCodes.has(code) || code.startsWith('ERR_TLS_') || certificateAlert.test(code));
  const through = proxy === undefined ? '' : ` through the proxy "${proxy}"`;
  return new RegistryError('Unavailable', `Cannot ${nameOf(asked)}${through}: ${networkReason(cause)}`, {
    retryable,
    cause,
  });
}

/** The error for an answer that contradicts itself or what was asked. */
export function answerError(asked: Asked, problem: string, code: ErrorCode = 'Unavailable'): RegistryError {
  return new RegistryError(code, `Cannot ${nameOf(asked)}: ${problem}`, { retryable: code === 'Unavailable' });
}

/** The error for an aborted signal: its reason where that is an error with a class, else Canceled or DeadlineExceeded. */
export function abortError(signal: AbortSignal): LazypullError {
  const reason: unknown = signal.reason;
  if (reason instanceof LazypullError) return reason;
  if (reason instanceof DOMException && reason.name === 'TimeoutError') {
    return new LazypullError('DeadlineExceeded', 'The time for the request to the registry is over', { cause: reason });
  }
  return new LazypullError('Canceled', 'The request to the registry was canceled', { cause: reason });
}

/** Causes that no retry cures: names that do not exist, certificates, requests that we built wrongly, a closed client. */
const permanentCodes = new Set([
  'ENOTFOUND',
  'EACCES',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'UND_ERR_INVALID_ARG',
  'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH',
  'UND_ERR_DESTROYED',
  'UND_ERR_CLOSED',
]);

/** The TLS alerts (RFC 8446, 6.2) of a server that did not get the client certificate that it wants; before TLS 1.3 some only say that the handshake failed. */
const certificateAlert = /_ALERT_(HANDSHAKE_FAILURE|.*CERTIFICATE.*|UNKNOWN_CA|ACCESS_DENIED)$/;
const wantsCertificate =
  'the server does not take this client in TLS: it may want a client certificate, or another one; name it with client = [["CERT", "KEY"]] in the hosts.toml of this registry';

const reasons = new Map([
  ['UND_ERR_CONNECT_TIMEOUT', 'the connection was not made in time'],
  ['UND_ERR_HEADERS_TIMEOUT', 'no answer came in time'],
  ['UND_ERR_BODY_TIMEOUT', 'the answer stopped in the middle'],
  ['ECONNREFUSED', 'the connection was refused'],
  ['ECONNRESET', 'the connection was reset'],
  ['ENOTFOUND', 'the host name does not exist'],
  [
    'ERR_SSL_WRONG_VERSION_NUMBER',
    'the server speaks plain HTTP, not TLS: configure it as an insecure mirror of itself',
  ],
  [
    'ERR_SSL_PACKET_LENGTH_TOO_LONG',
    'the server speaks plain HTTP, not TLS: configure it as an insecure mirror of itself',
  ],
]);

/** Whether a connection ended because what came was not HTTP. */
export function isNotHttp(cause: unknown): boolean {
  return cause instanceof errors.HTTPParserError;
}

/** Why no answer came, in a few words. */
export function networkReason(cause: unknown): string {
  const code = errnoOf(cause);
  if (code !== undefined && certificateAlert.test(code)) return `${wantsCertificate} (${code})`;
  if (isNotHttp(cause)) return 'the answer is not HTTP';
  const reason = code === undefined ? undefined : reasons.get(code);
  return reason === undefined ? messageOf(cause) : `${reason} (${code})`;
}

function codeOfStatus(status: number): ErrorCode {
  if (status === 401) return 'Unauthenticated';
  if (status === 403) return 'PermissionDenied';
  if (status === 404 || status === 410) return 'NotFound';
  if (status === 429) return 'ResourceExhausted';
  if (status === 405 || status === 501) return 'Unimplemented';
  if (status === 408 || status >= 500) return 'Unavailable';
  if (status >= 400) return 'FailedPrecondition';
  return 'Unknown';
}

function isRetryableStatus(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}
