import { codeOf, type ErrorCode, messageOf } from '../../errors.ts';
import { RegistryError } from '../../registry/errors.ts';
import { Refusal, type RefusalReason } from './refusal.ts';

/** The refusal that an error of mounting a layer is. */
export function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  return new Refusal(refusalReason(error), codeOf(error), messageOf(error), { cause: error });
}

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
