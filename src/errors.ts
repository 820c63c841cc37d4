import { inspect } from 'node:util';

/** The closed set of error classes: those of containerd (github.com/containerd/errdefs), which map to gRPC codes. */
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
 * An error with a class that callers act on. The message says what failed and where, and never what to do. `cause`
 * keeps the origin. `hint` says what to do, as a sentence without a capital; it is '' if the message says it already.
 * The code that throws knows the hint: no code finds it by matching messages.
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

/** Maximum depth of a chain of causes. */
const maxCauses = 8;

/** The class of any thrown value: that of a LazypullError, that of an exhausted resource, else 'Unknown'. */
export function codeOf(error: unknown): ErrorCode {
  if (error instanceof LazypullError) return error.code;
  return Object.hasOwn(hintsOfExhaustion, errnoOf(error) ?? '') ? 'ResourceExhausted' : 'Unknown';
}

/**
 * The message of any thrown value, followed by the messages of its causes, joined by ": ". A cause that the message
 * already quotes is not repeated.
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

/** What to do about a full disk. */
export const spaceHint =
  'free some space, or files if "df -i" shows that there are too many, or choose another directory';

/** What to do if too many files are open. */
export const fileLimitHint =
  'raise the number of files that a process may have open (LimitNOFILE= of systemd, "ulimit -n" of a shell)';

/** What to do if a process or a disk has reached a limit. */
const hintsOfExhaustion: Readonly<Record<string, string>> = {
  EMFILE: fileLimitHint,
  ENFILE: 'raise the number of files that the machine may have open (sysctl fs.file-max)',
  ENOSPC: spaceHint,
  EDQUOT: spaceHint,
  ERR_WORKER_INIT_FAILED:
    'raise the number of threads that may run (TasksMax= of systemd, pids.max of a control group)',
};

/** As `messageOf`, followed by the hint. It is for logs, which have no other place for the hint. */
export function explain(error: unknown): string {
  const hint = hintOf(error);
  return hint ? `${messageOf(error)}; ${hint}` : messageOf(error);
}

/** Whether a value is an error of a system call, as Node reports it. Its message does not always name the file. */
export function isSystemError(error: unknown): error is Error & { syscall: unknown } {
  return error instanceof Error && 'syscall' in error;
}

/** The `code` of an error that Node gave (`'ENOENT'`, …); undefined for a LazypullError, whose class `codeOf` tells. */
export function errnoOf(error: unknown): string | undefined {
  const isOfNode = error instanceof Error && !(error instanceof LazypullError) && 'code' in error;
  const code = isOfNode ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}
