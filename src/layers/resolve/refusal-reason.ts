import { codeOf, type ErrorCode } from '../../errors.ts';
import { RegistryError } from '../../registry/errors.ts';
import { Refusal, type RefusalReason } from './refusal.ts';

/** The reason behind an error of mounting a layer. */
export function refusalReason(error: unknown): RefusalReason {
  if (error instanceof Refusal) return error.reason;
  const code = codeOf(error);
  if (code === 'Unauthenticated' || code === 'PermissionDenied') return 'credentials';
  if (error instanceof RegistryError) return code === 'NotFound' ? 'not_found' : 'registry';
  return reasons[code] ?? 'other';
}

const reasons: Partial<Record<ErrorCode, RefusalReason>> = {
  FailedPrecondition: 'format',
  Unimplemented: 'unsupported',
  InvalidArgument: 'content',
  DataLoss: 'content',
  ResourceExhausted: 'limit',
  DeadlineExceeded: 'registry',
  Unavailable: 'machine',
};
