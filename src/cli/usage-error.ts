import { LazypullError } from '../errors.ts';

/** The user wrote something impossible; the exit code is that of wrong usage. */
export class UsageError extends LazypullError {}

/** Runs a check of the user's words: its InvalidArgument becomes a UsageError. */
export function checkUsage<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof LazypullError) || error.code !== 'InvalidArgument') throw error;
    const { code, message, cause, hint } = error;
    throw new UsageError(code, message, { cause, hint });
  }
}
