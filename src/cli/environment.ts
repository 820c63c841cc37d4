/** Exit codes: success, failure, wrong usage, an image that was written and cannot be lazy, ended by SIGINT. */
export const exitCodes = { ok: 0, failure: 1, usage: 2, notLazy: 3, interrupted: 130 } as const;

/** What a command needs to know about the process that runs it. */
export interface Environment {
  env: NodeJS.ProcessEnv;
  /** Name of the program that the user called. */
  name: string;
  /** The command line that runs `lazypull` again, without a command. */
  self: readonly string[];
}
