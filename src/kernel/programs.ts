import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { accessSync, closeSync, constants, openSync, statSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { LazypullError } from '../errors.ts';
import { makeDirectory } from './make-directory.ts';

/** A background program that outlives us. */
export interface Background {
  pid: number;
  /** How it ended ("exit code 1", "signal SIGKILL"), or undefined while it runs. */
  ended(): string | undefined;
}

/**
 * Starts `command` in a session of its own, with both outputs appended to the file `logPath`. It outlives this process.
 */
export async function startDetached(
  command: readonly string[],
  logPath: string,
  env: NodeJS.ProcessEnv,
): Promise<Background> {
  const [file = '', ...args] = command;
  const log = openLog(logPath);
  try {
    const child = spawn(file, args, { detached: true, stdio: ['ignore', log, log], env });
    await started(child, file);
    child.unref();
    let ended: string | undefined;
    child.once('exit', (code, signal) => {
      ended = signal === null ? `exit code ${code}` : `signal ${signal}`;
    });
    return { pid: child.pid ?? 0, ended: () => ended };
  } finally {
    closeSync(log);
  }
}

function openLog(path: string): number {
  try {
    makeDirectory(dirname(path));
    return openSync(path, 'a', 0o600);
  } catch (error) {
    throw new LazypullError('Unavailable', `Cannot write the log file "${path}"`, { cause: error });
  }
}

/**
 * Turns this process into another program, as execve(2) does: same pid, so signals and the exit code are the program's
 * own.
 */
export function becomeProgram(file: string, args: readonly string[], env: Record<string, string>): never {
  if (process.execve === undefined) {
    throw new LazypullError('Unimplemented', 'Cannot run execve(2): this Node does not have it');
  }
  return process.execve(file, [file, ...args], env);
}

/** The standard output of a short-lived program. */
export async function outputOf(command: readonly string[], env: NodeJS.ProcessEnv, timeoutMs: number): Promise<string> {
  const [file = '', ...args] = command;
  const { stdout } = await promisify(execFile)(file, args, { env, timeout: timeoutMs });
  return stdout;
}

/** The first executable file called `name` in the directories of `path` (written as PATH is), or undefined. */
export function findProgram(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .filter((directory) => directory !== '')
    .map((directory) => join(directory, name))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function started(child: ChildProcess, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) =>
      reject(new LazypullError('Unavailable', `Cannot start "${file}"`, { cause: error })),
    );
  });
}
