import { codeOf, type ErrorCode, isSystemError } from '../errors.ts';
import { RegistryError } from '../registry/errors.ts';

/**
 * Whether the image itself is the reason for an error, not the network or the machine. Another image of the index may
 * be better.
 */
export function isInconvertible(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof RegistryError || isSystemError(cause)) return false;
  }
  return inconvertible.has(codeOf(error));
}

const inconvertible: ReadonlySet<ErrorCode> = new Set([
  'InvalidArgument',
  'Unimplemented',
  'DataLoss',
  'ResourceExhausted',
  'FailedPrecondition',
]);

/** Whether an error says that something does not exist, or is not accepted. */
export function isRefused(error: unknown): boolean {
  return refusals.has(codeOf(error));
}

const refusals: ReadonlySet<ErrorCode> = new Set([
  'NotFound',
  'InvalidArgument',
  'FailedPrecondition',
  'Unimplemented',
]);
