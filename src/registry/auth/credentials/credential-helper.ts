import { execFile } from 'node:child_process';
import { errnoOf, LazypullError, messageOf } from '../../../errors.ts';
import type { Credential } from './credential-source.ts';
import { parseObject, stringIn } from './json-object.ts';

/** The user name that marks a helper's secret as an identity token. */
const tokenUser = '<token>';

const maxHelperOutputBytes = 256 * 1024;
const helperTimeoutMs = 30_000;
const helperName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$/;

/**
 * Speaks the protocol of github.com/docker/docker-credential-helpers: `get`, the server on standard input, JSON or "not
 * found" on standard output.
 */
export async function askHelper(
  helper: string,
  server: string,
  environment: NodeJS.ProcessEnv,
): Promise<Credential | undefined> {
  const program = helperProgram(helper);
  const { error, stdout, stderr } = await new Promise<HelperOutput>((resolve) => {
    const options = {
      env: environment,
      timeout: helperTimeoutMs,
      killSignal: 'SIGKILL',
      maxBuffer: maxHelperOutputBytes,
    } as const;
    const child = execFile(program, ['get'], options, (failure, output, complaint) =>
      resolve({ error: failure, stdout: output, stderr: complaint }),
    );
    child.stdin?.on('error', () => {});
    child.stdin?.end(server);
  });
  if (error !== null) {
    if (/credentials not found/i.test(stdout)) return undefined;
    const said = helperProblem(error, `${stdout}\n${stderr}`);
    throw helperFailure(helper, server, said, isMissing(error));
  }
  const answer = parseObject(stdout);
  const secret = stringIn(answer, 'Secret');
  const username = stringIn(answer, 'Username');
  if (secret === undefined) return undefined;
  if (username === tokenUser) return { kind: 'identity-token', token: secret };
  return { kind: 'password', username: username ?? '', password: secret };
}

interface HelperOutput {
  readonly error: Error | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The program for a word of `credHelpers` or `credsStore`. */
function helperProgram(helper: string): string {
  if (helperName.test(helper)) return `docker-credential-${helper}`;
  throw new LazypullError(
    'FailedPrecondition',
    `Cannot run the credential helper ${JSON.stringify(helper)}: it is not the name of a program`,
    { hint: 'correct "credHelpers" or "credsStore" in the config.json of Docker' },
  );
}

/** Throws if the program of a helper does not exist. */
export function checkHelper(helper: string, server: string, isProgram: (name: string) => boolean): void {
  if (!isProgram(helperProgram(helper))) throw helperFailure(helper, server, noSuchProgram, true);
}

const noSuchProgram = 'there is no such program in PATH';

function helperFailure(helper: string, server: string, said: string, missing: boolean): LazypullError {
  const program = helperProgram(helper);
  return new LazypullError(
    'FailedPrecondition',
    `Cannot get the credentials for "${server}" from "${program}": ${said}`,
    {
      hint: missing
        ? `install "${program}" where the PATH of lazypull finds it, or take "${helper}" out of "credHelpers" and "credsStore" in the config.json of Docker and log in again`
        : `see why "${program}" fails: it is the program that "credHelpers" or "credsStore" names in the config.json of Docker`,
    },
  );
}

function isMissing(error: Error): boolean {
  return errnoOf(error) === 'ENOENT';
}

function helperProblem(error: Error, output: string): string {
  if (isMissing(error)) return noSuchProgram;
  if (errnoOf(error) === 'EACCES') return 'it may not be run as a program';
  if ('killed' in error && error.killed === true) return `it gave no answer in ${helperTimeoutMs / 1000} seconds`;
  const said = output
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, 200);
  if ('code' in error && typeof error.code === 'number')
    return said === '' ? `it ended with ${error.code} and said nothing` : said;
  return said || messageOf(error).slice(0, 200);
}
