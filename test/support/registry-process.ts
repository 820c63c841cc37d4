import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { accepts, freePort } from './ports.ts';
import { Program, run } from './program.ts';
import { systemTool } from './tools.ts';

/** A running registry. */
export interface RegistryProcess extends AsyncDisposable {
  readonly port: number;
  /** The registry as references name it. */
  readonly host: string;
  readonly program: Program;
}

/** What a registry may have beside its defaults, in the names of its configuration file. */
export interface RegistrySettings {
  readonly auth?: object;
  readonly http?: object;
}

/** The only user of a registry that wants passwords: as `name:password`, and as htpasswd(1) has it. */
export const registryLogin = 'tester:pass:word';
const htpasswd = 'tester:$2b$04$UR3Wqq3gsJyL0TLO468aF.xziajZqQGZjx3yWZZkGdMQ0n0hQEy/q\n';

/** The setting `auth` of a registry that wants passwords, which are written to `path`. */
export async function wantPasswords(path: string): Promise<object> {
  await writeFile(path, htpasswd);
  return { htpasswd: { realm: 'test', path } };
}

/**
 * Starts docker-registry on a free port of 127.0.0.1 (or on `port`), with its blobs in `<data>` and its files in
 * `<directory>`.
 */
export async function startRegistry(
  directory: string,
  data = join(directory, 'blobs'),
  port?: number,
  settings: RegistrySettings = {},
): Promise<RegistryProcess> {
  const chosen = port ?? (await freePort());
  const config = await writeConfig(directory, data, chosen, settings);
  const program = new Program({
    name: 'docker-registry',
    command: systemTool('docker-registry'),
    args: ['serve', config],
    log: join(directory, 'registry.log'),
  });
  await program.ready(() => accepts({ port: chosen }));
  return { port: chosen, host: `localhost:${chosen}`, program, [Symbol.asyncDispose]: () => program.stop() };
}

/** Removes the blobs of `data` that no tag reaches; no registry may run on it. */
export async function collectGarbage(directory: string, data: string): Promise<void> {
  await run(systemTool('docker-registry'), [
    'garbage-collect',
    '--delete-untagged',
    await writeConfig(directory, data, 0),
  ]);
}

async function writeConfig(
  directory: string,
  data: string,
  port: number,
  { auth, http }: RegistrySettings = {},
): Promise<string> {
  await mkdir(directory, { recursive: true });
  await mkdir(data, { recursive: true });
  const path = join(directory, 'registry.yml');
  // JSON is YAML, and quotes every path.
  const settings = {
    version: 0.1,
    log: { level: 'warn', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: data }, delete: { enabled: true } },
    http: { addr: `127.0.0.1:${port}`, ...http },
    ...(auth === undefined ? {} : { auth }),
  };
  await writeFile(path, JSON.stringify(settings));
  return path;
}
