import { inspect } from 'node:util';

/**
 * The closed set of error classes. They are containerd's (github.com/containerd/errdefs), so that `snapshots/service.ts`
 * maps them to gRPC codes one to one and no other room knows gRPC.
 */
export type ErrorCode =
  | 'InvalidArgument'
  | 'NotFound'
  | 'AlreadyExists'
  | 'FailedPrecondition'
  | 'Unavailable'
  | 'Unauthenticated'
  | 'PermissionDenied'
  | 'ResourceExhausted'
  | 'DataLoss'
  | 'Unimplemented'
  | 'Canceled'
  | 'DeadlineExceeded'
  | 'Unknown';

/** An error with a class that callers act on. The message says what failed, where, and what to do; `cause` keeps the origin. */
export class LazypullError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'LazypullError';
    this.code = code;
  }
}

/** The class of any thrown value: that of a LazypullError, else 'Unknown'. */
export function codeOf(error: unknown): ErrorCode {
  return error instanceof LazypullError ? error.code : 'Unknown';
}

/** The message of any thrown value followed by the messages of its causes, joined by ": ", without repeating a cause that the message already quotes. */
export function messageOf(error: unknown): string {
  const parts: string[] = [];
  for (let e: unknown = error, depth = 0; e !== undefined && e !== null && depth < 8; depth++) {
    const text: string = e instanceof Error ? e.message || e.name : inspect(e);
    if (!parts.some((part) => part.includes(text))) parts.push(text);
    e = e instanceof Error ? e.cause : undefined;
  }
  return parts.join(': ');
}

/** Whether a value is an error that a system call gave, as Node reports it. Its message does not always say of which file it speaks. */
export function isSystemError(error: unknown): error is Error & { syscall: unknown } {
  return error instanceof Error && 'syscall' in error;
}

/** The `code` of a Node system error (`'ENOENT'`, …), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}
