import { inspect } from 'node:util';

/** The closed set of error classes: those of containerd (github.com/containerd/errdefs), which gRPC has codes for. */
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

/**
 * An error with a class that callers act on. The message says what failed and where; `cause` keeps the origin. `hint`
 * says what to do, as a sentence without a capital, and the message does not. It is '' if there is nothing to do but
 * what the message says. The code that throws knows the hint: it is never found by matching messages.
 */
export class LazypullError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown; hint?: string | undefined }) {
    super(message, options);
    this.name = 'LazypullError';
    this.code = code;
    this.hint = options?.hint;
  }
}

/** How deep a chain of causes is looked into. */
const maxCauses = 8;

/** The class of any thrown value: that of a LazypullError, else 'Unknown'. */
export function codeOf(error: unknown): ErrorCode {
  return error instanceof LazypullError ? error.code : 'Unknown';
}

/**
 * The message of any thrown value followed by the messages of its causes, joined by ": ", without repeating a cause
 * that the message already quotes.
 */
export function messageOf(error: unknown): string {
  const parts: string[] = [];
  for (let e: unknown = error, depth = 0; e !== undefined && e !== null && depth < maxCauses; depth++) {
    const text: string = e instanceof Error ? e.message || e.name : inspect(e);
    if (!parts.some((part) => part.includes(text))) parts.push(text);
    e = e instanceof Error ? e.cause : undefined;
  }
  return parts.join(': ');
}

/** The hint of an error, else the first one among its causes; undefined if none has one. */
export function hintOf(error: unknown): string | undefined {
  for (let e: unknown = error, depth = 0; e instanceof Error && depth < maxCauses; depth++) {
    if (e instanceof LazypullError && e.hint !== undefined) return e.hint;
    const hint = hintsOfExhaustion[errnoOf(e) ?? ''];
    if (hint !== undefined) return hint;
    e = e.cause;
  }
  return undefined;
}

/** What to do where a process has all that it may have. */
const hintsOfExhaustion: Readonly<Record<string, string>> = {
  EMFILE: 'raise the number of files that a process may have open (LimitNOFILE= of systemd, "ulimit -n" of a shell)',
  ENFILE: 'raise the number of files that the machine may have open (sysctl fs.file-max)',
  ERR_WORKER_INIT_FAILED:
    'raise the number of threads that may run (TasksMax= of systemd, pids.max of a control group)',
};

/** As `messageOf`, followed by the hint: for logs, where nothing else says what to do. */
export function explain(error: unknown): string {
  const hint = hintOf(error);
  return hint ? `${messageOf(error)}; ${hint}` : messageOf(error);
}

/**
 * Whether a value is an error that a system call gave, as Node reports it. Its message does not always say of which
 * file it speaks.
 */
export function isSystemError(error: unknown): error is Error & { syscall: unknown } {
  return error instanceof Error && 'syscall' in error;
}

/** The `code` of a Node system error (`'ENOENT'`, …), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}
