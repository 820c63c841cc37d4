import { accessSync, constants, existsSync, lstatSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { defaultAddress, type Instance, instanceAt, ownPlaces } from '../buildkit/places.ts';
import { findBuildkitd } from '../buildkit/run.ts';
import { daemonRoot } from '../config/load.ts';
import { checkOnlyOursIn } from '../state/ownership.ts';
import { nearestDirectory } from '../daemon/root-disk.ts';
import { LazypullError, messageOf } from '../errors.ts';
import { findProgram } from '../kernel/programs.ts';
import { listenerPid } from '../kernel/unix-socket.ts';
import { StatusClient } from '../status/status-client.ts';
import type { ClientStatus } from '../status/status.ts';
import { version } from '../version.ts';
import { absent, type CheckResult, right, tryOut, warning, wrong } from './check-result.ts';

/** The daemon at this socket and its client. If none serves: whether one could, which only root can tell. */
export async function checkDaemon(
  { address, root }: Instance,
  env: NodeJS.ProcessEnv,
  isRoot: boolean,
): Promise<CheckResult[]> {
  const name = 'daemon';
  const pid = await listenerPid(address).catch((error: unknown) => messageOf(error));
  if (typeof pid === 'string' && !isRoot) return [absent(name, pid, 'run "lazypull check" as root')];
  if (typeof pid !== 'number') {
    const none = absent(name, `none serves "${address}"`, `start it with "${await starterOf({ address, root }, env)}"`);
    if (!isRoot) return [none];
    const socket = await tryOut('socket', 'choose another --address', async () => checkSocket(address));
    return socket.state === 'wrong' ? [socket, none] : [none];
  }
  using client = new StatusClient(address);
  try {
    const { version: other, clients: served } = await client.status();
    const text = `lazypull ${other} serves "${address}" as process ${pid}`;
    const same =
      other === version
        ? right(name, text)
        : wrong(name, `${text}, and this is ${version}`, 'restart it to run this version');
    return [same, ...served.flatMap(checkServed)];
  } catch (error) {
    return [wrong(name, messageOf(error), 'stop what serves there, and start "lazypull daemon"')];
  }
}

/** The command that starts a daemon there: that of its buildkitd, unless this one runs already. */
async function starterOf(instance: Instance, env: NodeJS.ProcessEnv): Promise<string> {
  const { buildkitd, snapshotter } = ownPlaces(env);
  const isOwn = instance.address === snapshotter && !(await isServed(buildkitd));
  return isOwn ? 'lazypull buildkitd' : daemonStarter(instance, env);
}

function daemonStarter({ address, root }: Instance, env: NodeJS.ProcessEnv): string {
  const flags = [
    ...(address === defaultAddress(env) ? [] : ['--address', address]),
    ...(root === daemonRoot(undefined, env) ? [] : ['--root', root]),
  ];
  return ['lazypull daemon', ...flags].join(' ');
}

/** Throws if no socket can be made at a path that is not served. */
function checkSocket(path: string): string {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats !== undefined && !stats.isSocket()) {
    const text = `Cannot listen at "${path}": the file is not a socket`;
    throw new LazypullError('FailedPrecondition', text, { hint: 'remove it, or choose another --address' });
  }
  const directory = nearestDirectory(dirname(path));
  if (!statSync(directory).isDirectory()) {
    throw new LazypullError('FailedPrecondition', `Cannot listen at "${path}": "${directory}" is not a directory`);
  }
  accessSync(directory, constants.W_OK);
  if (existsSync(dirname(path))) checkOnlyOursIn(dirname(path));
  return `"${path}" can be made`;
}

/** A client of the running daemon: which process uses its socket. */
function checkServed({ name, address, process, refused }: ClientStatus): CheckResult[] {
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

/**
 * The programs that build and run on top of a daemon: those that serve, and those that could be started.
 *
 * @param tools directory of the programs that script/setup builds
 */
export async function checkClients(env: NodeJS.ProcessEnv, tools: string): Promise<CheckResult[]> {
  const buildkitd = await checkBuildkitd(env, tools);
  const containerd = await checkContainerd(env);
  const results = [...buildkitd, ...containerd];
  const hasClient = results.some(({ state }) => state === 'right');
  return [...results.map((each) => (hasClient ? each : needed(each))), checkRunc(env, tools, hasClient)];
}

/** Without either, nothing can use the daemon. */
function needed({ name, text, advice }: CheckResult): CheckResult {
  return advice === '' ? absent(name, text, advice) : warning(name, text, advice);
}

/** The buildkitd at the default address, and the one of `lazypull buildkitd`. */
async function checkBuildkitd(env: NodeJS.ProcessEnv, tools: string): Promise<CheckResult[]> {
  const name = 'buildkitd';
  const own = ownPlaces(env);
  const snapshotter = instanceAt(own.snapshotter, env);
  const isLazy = await isServed(snapshotter.address);
  const ofOwn = isLazy
    ? `that of "lazypull buildkitd", on the snapshotter at "${snapshotter.address}"`
    : `that of "lazypull buildkitd", and its snapshotter is not served at "${snapshotter.address}"`;
  const advice = `builds fail until it runs: start it with "${daemonStarter(snapshotter, env)}"`;
  const serving = [
    ...(await serves(name, own.buildkitd, ofOwn)).map((each) =>
      isLazy || each.state !== 'right' ? each : warning(name, each.text, advice),
    ),
    ...(await serves(name, '/run/buildkit/buildkitd.sock', '"lazypull setup buildkit" shows how to make it lazy')),
  ];
  if (serving.length > 0) return serving;
  try {
    const program = findBuildkitd(env, tools);
    return [right(name, `"${program}" is there, and does not run: "lazypull buildkitd" starts it`)];
  } catch (error) {
    const advice =
      'for lazy builds install BuildKit (https://github.com/moby/buildkit), or set BUILDKIT_BIN_PATH to its directory; containerd does not need it';
    return [absent(name, messageOf(error), advice)];
  }
}

async function checkContainerd(env: NodeJS.ProcessEnv): Promise<CheckResult[]> {
  const name = 'containerd';
  const setup = '"lazypull setup containerd" shows how to make it lazy';
  const serving = await serves(name, env['CONTAINERD_ADDRESS'] || '/run/containerd/containerd.sock', setup);
  if (serving.length > 0) return serving;
  const program = findProgram(name, env.PATH ?? '');
  if (program !== undefined) return [right(name, `"${program}" is there, and does not run; ${setup}`)];
  return [
    absent(
      name,
      'it does not run, and is not in PATH',
      'for lazy containers install containerd; builds with buildkitd do not need it',
    ),
  ];
}

/** Only buildkitd and containerd run it. */
function checkRunc(env: NodeJS.ProcessEnv, tools: string, hasClient: boolean): CheckResult {
  const name = 'runc';
  const path = [env['BUILDKIT_BIN_PATH'] ?? '', env.PATH ?? '', tools].join(':');
  const program = findProgram('buildkit-runc', path) ?? findProgram('runc', path);
  if (program !== undefined) return right(name, `"${program}" runs the steps of builds, and containers`);
  const text = 'it is not in PATH: buildkitd and containerd run steps of builds, and containers, with it';
  const state = hasClient ? warning : absent;
  return state(name, text, 'install it, for instance with "apt-get install runc"');
}

/** Whether a socket is served, even if we may not look. */
async function isServed(socket: string): Promise<boolean> {
  return (await listenerPid(socket).catch(() => 0)) !== undefined;
}

async function serves(name: string, socket: string, more: string): Promise<CheckResult[]> {
  try {
    const pid = await listenerPid(socket.replace(/^unix:\/\//, ''));
    return pid === undefined ? [] : [right(name, `process ${pid} serves "${socket}": ${more}`)];
  } catch (error) {
    // A user learns nothing about a socket in a directory that only others may enter; root sees all.
    return [absent(name, messageOf(error), '')];
  }
}
