import { type ErrorCode, hintOf, LazypullError } from '../errors.ts';
import { RegistryError } from '../registry/errors.ts';
import { UsageError } from './usage-error.ts';

/** What the user of a command can do about an error; undefined if the message says it already, or nothing is known. */
export function hintFor(error: unknown): string | undefined {
  const own = hintOf(error);
  if (own !== undefined) return own === '' ? undefined : own;
  if (error instanceof RegistryError) return registryHintsByClass[error.code] ?? hintsByClass[error.code];
  for (const code of systemCodes(error)) {
    const hint = systemHints.find(([known]) => known.includes(code))?.[1];
    if (hint !== undefined) return hint;
  }
  if (error instanceof UsageError) return 'add --help to the command to see its arguments';
  return error instanceof LazypullError ? hintsByClass[error.code] : undefined;
}

type Hints = readonly (readonly [codes: readonly string[], hint: string])[];

const registryHintsByClass: Partial<Record<ErrorCode, string>> = {
  NotFound: 'check the name and the tag of the image',
  DataLoss: 'what the server sent does not match its digest; try again, or ask the operators of the registry',
  ResourceExhausted: 'log in with "docker login HOST" for higher limits, wait, or set up a mirror',
  Unavailable: 'try again later, or set up a mirror in hosts.toml',
};

const systemHints: Hints = [
  [['EACCES', 'EPERM'], 'run it as root, or as a user with the right to do this'],
  [['ENOENT', 'ENOTDIR', 'EISDIR'], 'check the path'],
  [['EROFS'], 'that file system is read-only; choose another directory'],
];

const hintsByClass: Partial<Record<ErrorCode, string>> = {
  Unauthenticated:
    'log in with "docker login HOST", or set DOCKER_CONFIG to the directory of a config.json that has the credentials',
  PermissionDenied: 'log in with "docker login HOST" as a user with the right to do this',
  DataLoss: 'the image is damaged, or was damaged on the way: try again, else build and push it again',
};

/** The codes of system errors in a chain of causes, and in errors that were collected in one. */
function systemCodes(error: unknown, depth = 0): string[] {
  if (!(error instanceof Error) || depth > 8) return [];
  const own =
    'code' in error && typeof error.code === 'string' && !(error instanceof LazypullError) ? [error.code] : [];
  const inner = error instanceof AggregateError ? error.errors : [];
  return [...own, ...[error.cause, ...inner].flatMap((cause) => systemCodes(cause, depth + 1))];
}
