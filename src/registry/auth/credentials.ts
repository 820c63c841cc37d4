import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { errnoOf, LazypullError, messageOf } from '../../errors.ts';
import { jsonProblem } from '../../util/json.ts';

/** What proves to a registry who we are. */
export type Credential =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  | { readonly kind: 'identity-token'; readonly token: string };

/** A source of credentials. */
export interface Credentials {
  /** Where they come from, for people: a path; empty for nowhere. */
  readonly source: string;
  /** The credential for a registry host (`docker.io`, `localhost:5000`), or undefined. Throws where the source is broken. */
  find(host: string): Promise<Credential | undefined>;
}

/** Credentials that never are any. */
export const noCredentials: Credentials = { source: '', find: () => Promise.resolve(undefined) };

/** Docker Hub's images are those of docker.io, but its credentials are kept under this name. */
const hubKey = 'https://index.docker.io/v1/';
const hubHosts = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

/** The user name with which a helper says that the secret is an identity token. */
const tokenUser = '<token>';

const maxConfigBytes = 4 * 1024 * 1024;
const maxHelperOutputBytes = 256 * 1024;
/** More registries than anybody has logins for; the others are not looked at. */
const maxCheckedLogins = 1_000;
const helperTimeoutMs = 30_000;
const helperName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$/;

/**
 * The credentials that `docker login` keeps: `config.json` in $DOCKER_CONFIG or in `.docker` of the home directory. Asks, in this order,
 * the host's helper of `credHelpers`, the helper of `credsStore`, and `auths`. The file is read at each call, so that changes count.
 */
export function dockerCredentials(environment: NodeJS.ProcessEnv = process.env): Credentials {
  const directory = environment['DOCKER_CONFIG'] || join(environment['HOME'] || homedir(), '.docker');
  const source = join(directory, 'config.json');
  return {
    source,
    async find(host) {
      const config = await readConfig(source);
      if (config === undefined) return undefined;
      const helper = stringIn(config['credHelpers'], keyFor(config['credHelpers'], host)) ?? config['credsStore'];
      if (typeof helper === 'string' && helper !== '') {
        const found = await askHelper(helper, hubHosts.has(host) ? hubKey : host, environment);
        if (found !== undefined) return found;
      }
      return credentialIn(config['auths'], keyFor(config['auths'], host), source);
    },
  };
}

/**
 * Throws for the first thing in Docker's config.json by which a login of some registry cannot be read, without asking any helper.
 *
 * @param isProgram whether PATH has a program of that name
 */
export async function checkDockerLogins(
  environment: NodeJS.ProcessEnv,
  isProgram: (name: string) => boolean,
): Promise<void> {
  const { source } = dockerCredentials(environment);
  const { auths, credHelpers } = (await readConfig(source)) ?? {};
  for (const host of isObject(credHelpers) ? Object.keys(credHelpers).slice(0, maxCheckedLogins) : []) {
    const helper = stringIn(credHelpers, host);
    if (helper === undefined) continue;
    const program = helperProgram(helper);
    if (!isProgram(program)) throw helperFailure(helper, host, noSuchProgram, true);
  }
  for (const key of isObject(auths) ? Object.keys(auths).slice(0, maxCheckedLogins) : []) {
    credentialIn(auths, key, source);
  }
}

type Json = Readonly<Record<string, unknown>>;

async function readConfig(path: string): Promise<Json | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw new LazypullError('FailedPrecondition', `Cannot read the credentials in "${path}"`, { cause: error });
  }
  if (text.trim() === '') return undefined; // as Docker takes it
  const config = text.length > maxConfigBytes ? undefined : parseObject(text);
  if (config !== undefined) return config;
  const isLarge = text.length > maxConfigBytes;
  const problem = isLarge ? `it is larger than ${maxConfigBytes} bytes` : jsonProblem(text);
  throw new LazypullError(
    'FailedPrecondition',
    `Cannot read the credentials in "${path}": it is not a JSON object of Docker's${problem === undefined ? '' : `: ${problem}`}`,
    { hint: 'correct the file, or set DOCKER_CONFIG to the directory of a right one' },
  );
}

/** The key of `section` that stands for `host`: the name itself before forms such as `https://name/v1/`. */
function keyFor(section: unknown, host: string): string | undefined {
  if (!isObject(section)) return undefined;
  if (hubHosts.has(host) && Object.hasOwn(section, hubKey)) return hubKey;
  if (Object.hasOwn(section, host)) return host;
  return Object.keys(section).find((key) => {
    const name = key.replace(/^https?:\/\//, '').split('/', 1)[0] ?? '';
    return name === host || (hubHosts.has(host) && hubHosts.has(name));
  });
}

function credentialIn(auths: unknown, key: string | undefined, source: string): Credential | undefined {
  const entry = isObject(auths) && key !== undefined ? auths[key] : undefined;
  if (!isObject(entry)) return undefined;
  const token = stringIn(entry, 'identitytoken');
  if (token !== undefined) return { kind: 'identity-token', token };
  const username = stringIn(entry, 'username');
  const password = stringIn(entry, 'password');
  if (username !== undefined && password !== undefined) return { kind: 'password', username, password };
  const auth = stringIn(entry, 'auth');
  if (auth === undefined) return undefined;
  const decoded = Buffer.from(auth, 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  if (colon <= 0) {
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot read the credentials for "${key}" in "${source}": "auth" is not the base64 of USER:PASSWORD`,
      { hint: `run "docker login ${key}", which writes it anew` },
    );
  }
  return {
    kind: 'password',
    username: decoded.slice(0, colon),
    password: decoded.slice(colon + 1).replace(/\0+$/, ''),
  };
}

/** Speaks the protocol of github.com/docker/docker-credential-helpers: `get`, the server on standard input, JSON or "not found" on standard output. */
async function askHelper(
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

/** The program that a word of `credHelpers` or `credsStore` stands for. */
function helperProgram(helper: string): string {
  if (helperName.test(helper)) return `docker-credential-${helper}`;
  throw new LazypullError(
    'FailedPrecondition',
    `Cannot run the credential helper ${JSON.stringify(helper)}: it is not the name of a program`,
    { hint: 'correct "credHelpers" or "credsStore" in the config.json of Docker' },
  );
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

function parseObject(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The non-empty string at `key`, or undefined. */
function stringIn(value: unknown, key: string | undefined): string | undefined {
  const found = isObject(value) && key !== undefined && Object.hasOwn(value, key) ? value[key] : undefined;
  return typeof found === 'string' && found !== '' ? found : undefined;
}
