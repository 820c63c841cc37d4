import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { errnoOf, LazypullError } from '../../../errors.ts';
import { readGivenFile } from '../../../kernel/given-file.ts';
import { jsonProblem } from '../../../util/json.ts';
import { askHelper, checkHelper } from './credential-helper.ts';
import type { Credential, CredentialSource } from './credential-source.ts';
import { isObject, type Json, parseObject, stringIn } from './json-object.ts';

/** Docker Hub's images belong to docker.io, but its credentials have this name. */
const hubKey = 'https://index.docker.io/v1/';
const hubHosts = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

const maxConfigBytes = 4 * 1024 * 1024;
/** A registry that does not exist, to ask for the helper of all registries. */
const unknownHost = 'lazypull.invalid';
/** No user has more logins; any more are not checked. */
const maxCheckedLogins = 1_000;

/**
 * The credentials of `docker login`: `config.json` in $DOCKER_CONFIG or in `.docker` of the home directory. Asks, in
 * this order, the host's helper of `credHelpers`, the helper of `credsStore`, and `auths`. The file is read at each
 * call, so that changes count.
 */
export function dockerConfig(environment: NodeJS.ProcessEnv): CredentialSource {
  const directory = environment['DOCKER_CONFIG'] || join(environment['HOME'] || homedir(), '.docker');
  const place = join(directory, 'config.json');
  return {
    place,
    async find({ host }) {
      const config = await readConfig(place);
      if (config === undefined) return undefined;
      const helper = stringIn(config['credHelpers'], keyFor(config['credHelpers'], host)) ?? config['credsStore'];
      if (typeof helper === 'string' && helper !== '') {
        const found = await askHelper(helper, hubHosts.has(host) ? hubKey : host, environment);
        if (found !== undefined) return found;
      }
      return credentialIn(config['auths'], keyFor(config['auths'], host), place);
    },
    advice(host, isFound) {
      const state = isFound
        ? `the credentials for "${host}" in "${place}" were not enough`
        : `there are no credentials for "${host}" in "${place}", and BuildKit and containerd do not pass theirs on`;
      const login = `"docker login${host === 'docker.io' ? '' : ` ${host}`}"`;
      const container = `in a container, mount or copy the config.json of that login to "${place}"`;
      return `${state}: run ${login} as the user that runs lazypull, or set its DOCKER_CONFIG to a directory with them; ${container}`;
    },
    async check(isProgram) {
      checkLogins((await readConfig(place)) ?? {}, place, isProgram);
      await this.find({ host: unknownHost, repository: undefined, labels: {} });
      return existsSync(place)
        ? `"${place}" can be read`
        : `"${place}" is not there: registries are read without a login`;
    },
  };
}

/** Throws the first reason why a login of some registry cannot be read, without asking any helper. */
function checkLogins({ auths, credHelpers }: Json, place: string, isProgram: (name: string) => boolean): void {
  for (const host of isObject(credHelpers) ? Object.keys(credHelpers).slice(0, maxCheckedLogins) : []) {
    const helper = stringIn(credHelpers, host);
    if (helper !== undefined) checkHelper(helper, host, isProgram);
  }
  for (const key of isObject(auths) ? Object.keys(auths).slice(0, maxCheckedLogins) : []) {
    credentialIn(auths, key, place);
  }
}

const mend = 'correct the file, or set DOCKER_CONFIG to the directory of a right one';

async function readConfig(path: string): Promise<Json | undefined> {
  let text: string;
  try {
    text = (await readGivenFile(path, maxConfigBytes)).toString('utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw new LazypullError('FailedPrecondition', `Cannot read the credentials in "${path}"`, {
      cause: error,
      hint: mend,
    });
  }
  if (text.trim() === '') return undefined; // as Docker takes it
  const config = parseObject(text);
  if (config !== undefined) return config;
  const problem = jsonProblem(text);
  throw new LazypullError(
    'FailedPrecondition',
    `Cannot read the credentials in "${path}": it is not a JSON object of Docker's${problem === undefined ? '' : `: ${problem}`}`,
    { hint: mend },
  );
}

/** The key of `section` for `host`: the name itself before forms such as `https://name/v1/`. */
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
      { hint: `run "docker login ${key}", which writes it again` },
    );
  }
  return {
    kind: 'password',
    username: decoded.slice(0, colon),
    password: decoded.slice(colon + 1).replace(/\0+$/, ''),
  };
}
