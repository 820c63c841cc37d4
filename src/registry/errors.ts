import { STATUS_CODES } from 'node:http';
import { type ErrorCode, LazypullError } from '../errors.ts';
import { networkReason } from './http/network-reasons.ts';

/** An error of a request to a registry. `retryable` says whether the same request may succeed later. */
export class RegistryError extends LazypullError {
  /** The HTTP status, if there was an answer. */
  readonly status: number | undefined;
  readonly retryable: boolean;
  /** The time that the server asked for with Retry-After. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    about: {
      status?: number | undefined;
      retryable?: boolean | undefined;
      retryAfterMs?: number | undefined;
      hint?: string | undefined;
      cause?: unknown;
    } = {},
  ) {
    super(code, message, { cause: about.cause, hint: about.hint });
    this.name = 'RegistryError';
    this.status = about.status;
    this.retryable = about.retryable ?? false;
    this.retryAfterMs = about.retryAfterMs;
  }

  /** The same error as retryable, if another server may do better. */
  toBeRetried(): RegistryError {
    const { status, hint, cause } = this;
    return new RegistryError(this.code, this.message, { status, retryable: true, hint, cause });
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
  const text = STATUS_CODES[status] ?? 'unknown status';
  return new RegistryError(codeOfStatus(status), `Cannot ${nameOf(asked)}: ${status} ${text}${said}`, {
    status,
    retryable: isRetryableStatus(status),
    retryAfterMs: about.retryAfterMs,
    hint: about.hint,
    cause: about.cause,
  });
}

/**
 * The error for a request or a body that the network broke. It may be tried again unless the cause is permanent.
 * `proxy` is the proxy that it was sent to.
 */
export function networkError(asked: Asked, cause: unknown, proxy?: string): RegistryError {
  const { code, text, isPermanent, hint, isAll } = networkReason(cause, asked.url, proxy !== undefined);
  const through = proxy === undefined ? '' : ` through the proxy "${proxy}"`;
  return new RegistryError('Unavailable', `Cannot ${nameOf(asked)}${through}: ${text}`, {
    retryable: !isPermanent,
    hint,
    // Messages include the words of all causes, but those of Node and OpenSSL are not meant for our users.
    cause: isAll ? Object.assign(new Error(text), code === undefined ? {} : { code }) : cause,
  });
}

/** The error for an answer that contradicts itself or the request. */
export function answerError(asked: Asked, problem: string, code: ErrorCode = 'Unavailable'): RegistryError {
  return new RegistryError(code, `Cannot ${nameOf(asked)}: ${problem}`, { retryable: code === 'Unavailable' });
}

/** The error for an aborted signal: its reason if that is an error with a class, else Canceled or DeadlineExceeded. */
export function abortError(signal: AbortSignal): LazypullError {
  const reason: unknown = signal.reason;
  if (reason instanceof LazypullError) return reason;
  if (reason instanceof DOMException && reason.name === 'TimeoutError') {
    return new LazypullError('DeadlineExceeded', 'The time for the request to the registry is over', { cause: reason });
  }
  return new LazypullError('Canceled', 'The request to the registry was canceled', { cause: reason });
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
