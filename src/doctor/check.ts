import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type DaemonFlags, daemonAddress, daemonRoot, defaults, loadConfig } from '../config/load.ts';
import { LazypullError, messageOf } from '../errors.ts';
import { isShared } from '../kernel/mount.ts';
import { probeMachine } from '../kernel/probe.ts';
import { listenerPid } from '../kernel/unix-socket.ts';
import { dockerCredentials } from '../registry/credentials.ts';
import { StatusClient } from '../status/client.ts';
import type { ClientStatus } from '../status/status.ts';
import { version } from '../version.ts';
import { checkMounts } from './check-mounts.ts';
import { type Finding, tryOut } from './finding.ts';
import { checkInodeNumbers } from './inode-numbers.ts';

/** Below that a daemon starts, and is soon in trouble. */
const minFreeBytes = 1 << 30;

/** Where clients listen that nobody has moved. */
const clients = [
  { name: 'buildkitd', socket: '/run/buildkit/buildkitd.sock', setup: 'lazypull setup buildkit' },
  { name: 'containerd', socket: '/run/containerd/containerd.sock', setup: 'lazypull setup containerd' },
];

/** Looks at everything that a daemon with these flags needs, and at what it works with. */
export async function checkMachine(
  flags: DaemonFlags & { address?: string | undefined },
  env: NodeJS.ProcessEnv,
): Promise<Finding[]> {
  const root = daemonRoot(flags.root, env);
  const parent = nearestDirectory(root);
  const { uid, fuseDevice } = await probeMachine();
  const findings: Finding[] = [
    uid === 0
      ? right('user', 'root')
      : wrong('user', `user ${uid}: only root can mount`, 'start it with sudo; what follows is checked as root only'),
    fuseDevice
      ? right('/dev/fuse', 'can be opened')
      : wrong('/dev/fuse', 'cannot be opened', 'run "modprobe fuse", or start the container with --device /dev/fuse'),
  ];
  if (uid === 0) findings.push(...(await mounts(parent)));
  findings.push(await checkSharing(root, parent));
  findings.push(
    await tryOut('space', `free some, or choose another --root`, () => checkSpace(root, parent)),
    await tryOut('config file', 'correct the file, or give another --config', () => checkConfig(flags, env)),
    await tryOut('credentials', 'correct the file, or set DOCKER_CONFIG to the directory of a right one', () =>
      checkCredentials(env),
    ),
    await checkInodeNumbers(
      await loadConfig(flags, env).then(
        ({ file }) => file,
        () => undefined,
      ),
    ),
    ...(await checkDaemon(daemonAddress(flags.address, env))),
  );
  for (const client of clients) findings.push(await checkClient(client));
  return findings;
}

async function mounts(parent: string): Promise<Finding[]> {
  try {
    return await checkMounts(parent);
  } catch (error) {
    return [wrong('mounts', `Cannot be tried in "${parent}": ${messageOf(error)}`, 'choose another --root')];
  }
}

/** Not wrong in itself: most daemons and their clients are in one mount namespace. */
async function checkSharing(root: string, parent: string): Promise<Finding> {
  const name = 'sharing of mounts';
  if (await isShared(parent)) return right(name, `what is mounted in "${root}" is seen in other mount namespaces`);
  const text = `clients in other mount namespaces than the daemon, such as outside of its container, will find "${root}" empty`;
  return absent(name, text, `where a client is in another one, start the container with -v ${root}:${root}:rshared`);
}

async function checkSpace(root: string, parent: string): Promise<string> {
  const { bavail, bsize } = await statfs(parent);
  const text = `${((bavail * bsize) / 1e9).toFixed(1)} GB are free for "${root}"`;
  if (bavail * bsize >= minFreeBytes) return text;
  throw new LazypullError('ResourceExhausted', `only ${text}`);
}

async function checkConfig(flags: DaemonFlags, env: NodeJS.ProcessEnv): Promise<string> {
  const path = flags.config ?? (env.LAZYPULL_CONFIG || defaults.config);
  const { file, warnings } = await loadConfig(flags, env);
  if (file === undefined) return `"${path}" has nothing: every key has its default`;
  return [`"${path}" can be used`, ...warnings].join('; ');
}

async function checkCredentials(env: NodeJS.ProcessEnv): Promise<string> {
  const credentials = dockerCredentials(env);
  await credentials.find('lazypull.invalid');
  return existsSync(credentials.source)
    ? `"${credentials.source}" can be read`
    : `"${credentials.source}" is not there: registries are read without a login`;
}

async function checkDaemon(address: string): Promise<Finding[]> {
  const name = 'daemon';
  const pid = await listenerPid(address).catch(() => undefined);
  if (pid === undefined) return [absent(name, `none serves "${address}"`, 'start it with "lazypull daemon"')];
  using client = new StatusClient(address);
  try {
    const { version: other, clients: served } = await client.status();
    const text = `lazypull ${other} serves "${address}" as process ${pid}`;
    const same =
      other === version
        ? right(name, text)
        : wrong(name, `${text}, and this is ${version}`, 'restart it to have this version');
    return [same, ...served.flatMap(checkServed)];
  } catch (error) {
    return [wrong(name, messageOf(error), 'stop what serves there, and start "lazypull daemon"')];
  }
}

/** What is to be said of a client of the running daemon: who uses its socket. */
function checkServed({ name, address, process, refused }: ClientStatus): Finding[] {
  if (process === undefined) return [];
  const who = `process ${process.pid} (${process.command})`;
  if (refused === undefined) return [right(`client ${name}`, `${who} uses "${address}"`)];
  return [
    wrong(
      `client ${name}`,
      `${who} uses "${address}", and process ${refused.pid} (${refused.command}) wants to: it is refused`,
      'give it a socket of its own: another --address of the daemon, or [[client]] in its config file',
    ),
  ];
}

async function checkClient({ name, socket, setup }: (typeof clients)[number]): Promise<Finding> {
  try {
    const pid = await listenerPid(socket);
    if (pid === undefined) return absent(name, `none serves "${socket}"`, '');
    return right(name, `process ${pid} serves "${socket}"; "${setup}" shows how it is to be configured`);
  } catch (error) {
    return absent(name, messageOf(error), '');
  }
}

/** The directory itself, or the nearest one above it that is there. */
function nearestDirectory(path: string): string {
  return existsSync(path) || path === '/' ? path : nearestDirectory(dirname(path));
}

function right(name: string, text: string): Finding {
  return { name, state: 'right', text, advice: '' };
}

function wrong(name: string, text: string, advice: string): Finding {
  return { name, state: 'wrong', text, advice };
}

function absent(name: string, text: string, advice: string): Finding {
  return { name, state: 'absent', text, advice };
}
