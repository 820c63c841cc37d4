import { LazypullError } from '../errors.ts';

/** What the user wrote cannot be; the exit code is that of wrong usage. */
export class UsageError extends LazypullError {}

/** Runs what checks the words of the user: its InvalidArgument is a UsageError. */
export function checkUsage<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof LazypullError) || error.code !== 'InvalidArgument') throw error;
    const { code, message, cause, hint } = error;
    throw new UsageError(code, message, { cause, hint });
  }
}
