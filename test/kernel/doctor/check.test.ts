import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { mountOverlay, mountsBelow } from '../../../src/kernel/mount.ts';
import { launchDaemon, logged, startDaemon } from '../../support/daemon.ts';
import { Workspace } from '../../support/workspace.ts';

const main = fileURLToPath(new URL('../../../src/bin/lazypull.ts', import.meta.url));

let workspace: Workspace;

before(async () => {
  workspace = await Workspace.open('lp-check');
});
after(() => workspace[Symbol.asyncDispose]());

interface Found {
  readonly name: string;
  readonly state: string;
  readonly text: string;
  readonly advice: string;
}

function check(...flags: string[]): Promise<{ code: number; findings: Map<string, Found> }> {
  return checkWith({}, ...flags);
}

/** With more in the environment, or as another user. */
function checkWith(
  { uid, ...env }: Readonly<Record<string, string>>,
  ...flags: string[]
): Promise<{ code: number; findings: Map<string, Found> }> {
  const user = uid === undefined ? {} : { uid: Number(uid), gid: Number(uid) };
  const options = { env: { ...process.env, ...env }, ...user };
  return new Promise((resolve) => {
    execFile(process.execPath, [main, 'check', '--json', ...flags], options, (error, stdout) => {
      const lines = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Found);
      const code = typeof error?.code === 'number' ? error.code : 0;
      resolve({ code, findings: new Map(lines.map((line) => [line.name, line])) });
    });
  });
}

const mounts = ['EROFS', 'FUSE', 'EROFS on FUSE', 'overlayfs on EROFS'];

test('lazypull check mounts what the daemon mounts, finds the daemon, and leaves nothing behind', async () => {
  const directory = await workspace.directory('good');
  await using daemon = await startDaemon(directory);
  await logged(daemon, 'warmed up'); // with a mount and a directory of its own
  const before = await mountsBelow(directory);
  const files = await readdir(daemon.root);
  const { code, findings } = await check('--root', daemon.root, '--address', daemon.socket);
  assert.deepEqual(
    ['user', '/dev/fuse', 'kernel', ...mounts, 'root', 'space', 'config file', 'credentials', 'daemon'].map((name) => [
      name,
      findings.get(name)?.state,
    ]),
    ['user', '/dev/fuse', 'kernel', ...mounts, 'root', 'space', 'config file', 'credentials', 'daemon'].map((name) => [
      name,
      'right',
    ]),
  );
  assert.equal(code, 0);
  assert.match(findings.get('daemon')!.text, new RegExp(`as process ${daemon.program.pid}$`));
  assert.deepEqual(await mountsBelow(directory), before);
  assert.deepEqual(await readdir(daemon.root), files);
});

test('lazypull check says what is wrong and what mends it', async () => {
  const [lower, upper, work, root] = await Promise.all(
    ['lower', 'upper', 'work', 'overlay'].map((name) => workspace.directory(name)),
  );
  await mountOverlay([lower!], root!, { upper: upper!, work: work! });
  const config = join(workspace.path, 'config.toml');
  await writeFile(config, 'prefetch_size = "large"');
  const address = join(workspace.path, 'none.sock');
  const { code, findings } = await check(
    '--root',
    join(root!, 'not', 'there'),
    '--config',
    config,
    '--address',
    address,
  );
  assert.equal(code, 1);
  const overlay = findings.get('overlayfs on EROFS')!;
  assert.equal(overlay.state, 'wrong');
  assert.match(findings.get('root')!.text, /is on overlayfs/);
  assert.match(overlay.text, /Cannot mount overlayfs/);
  assert.match(overlay.advice, /--root .* not on overlayfs/);
  assert.equal(findings.get('config file')?.state, 'wrong');
  assert.match(findings.get('config file')!.text, /prefetch_size/);
  assert.equal(findings.get('daemon')?.state, 'absent');
  assert.match(findings.get('daemon')!.advice, /lazypull daemon/);
  assert.deepEqual(await readdir(root!), []);
});

test('lazypull check warns if mounts would not reach a client outside of a container', async () => {
  const directory = await workspace.directory('sharing');
  const state = async () => (await check('--root', join(directory, 'root'))).findings.get('sharing of mounts')!;
  await promisify(execFile)('mount', ['--bind', directory, directory]);
  await promisify(execFile)('mount', ['--make-private', directory]);
  const alone = await state();
  assert.equal(alone.state, 'absent');
  assert.match(alone.advice, /-v (\S+):\1:rshared/);
  await promisify(execFile)('mount', ['--make-shared', directory]);
  assert.equal((await state()).state, 'right');
});

test('lazypull check warns if a lazy image is several file systems to programs', async () => {
  const config = join(workspace.path, 'xino.toml');
  const parameter = '/sys/module/overlay/parameters/xino_auto';
  const numbers = async (xino: string) => {
    await writeFile(config, `[snapshotter]\nxino = "${xino}"\n`);
    return (await check('--root', workspace.path, '--config', config)).findings.get('inode numbers')!;
  };
  const before = await readFile(parameter, 'utf8');
  try {
    await writeFile(parameter, 'N');
    assert.match((await numbers('on')).text, /one device number.* xino=on/);
    const without = await numbers('off');
    assert.equal(without.state, 'absent');
    assert.match(without.advice, /\[snapshotter\].*xino_auto/);
    await writeFile(parameter, 'Y');
    assert.match((await numbers('off')).text, /one device number.*xino_auto/);
  } finally {
    await writeFile(parameter, before);
  }
});

test('lazypull check says whether files can be read past the page cache', async () => {
  const config = join(workspace.path, 'direct.toml');
  const found = async (value: boolean) => {
    await writeFile(config, `[snapshotter]\ndirect_io = ${value}\n`);
    const { code, findings } = await check('--root', workspace.path, '--config', config);
    assert.equal(code, 0);
    return findings.get('O_DIRECT')!;
  };
  assert.deepEqual(await found(true).then(({ state, text }) => [state, /loop device/.test(text)]), ['right', true]);
  const { state, text, advice } = await found(false);
  assert.equal(state, 'absent');
  assert.match(text, /O_DIRECT.*EINVAL/);
  assert.match(advice, /direct_io = true in \[snapshotter\]/);
});

const run = promisify(execFile);

test('lazypull check and the daemon refuse a root on a file system that cannot hold it, in the same words', async () => {
  const place = await workspace.directory('unfit');
  const refused = async (root: string): Promise<string> => {
    const found = (await check('--root', root)).findings.get('root')!;
    assert.equal(found.state, 'wrong');
    const daemon = await launchDaemon(await workspace.directory('refused'), 'info', '', ['--root', root]);
    await daemon.program.ended;
    assert.equal(daemon.program.outcome, 'ended with status 1');
    assert.equal(daemon.log().at(-1)?.['error'], `${found.text}; ${found.advice}`);
    await daemon[Symbol.asyncDispose]();
    return found.text;
  };

  await run('mount', ['-t', 'tmpfs', 'none', place]);
  assert.match(await refused(join(place, 'root')), /is on tmpfs/);
  await run('umount', [place]);

  const [lower, upper, work, bound] = await Promise.all(
    ['l', 'u', 'w', 'bound'].map((name) => workspace.directory(name)),
  );
  await mountOverlay([lower!], place, { upper: upper!, work: work! });
  await run('mount', ['--bind', place, bound!]);
  await symlink(bound!, join(workspace.path, 'link'));
  assert.match(await refused(join(bound!, 'root')), /is on overlayfs/);
  assert.match(await refused(join(workspace.path, 'link', 'root')), /is on overlayfs/);
  await run('umount', [bound!]);
  await run('umount', [place]);

  const disk = join(workspace.path, 'disk');
  await writeFile(disk, '');
  await truncate(disk, 32 << 20);
  await run('mkfs.ext4', ['-q', '-O', '^filetype', disk]);
  await run('mount', ['-o', 'loop', disk, place]);
  assert.match(await refused(join(place, 'root')), /deleted files are still listed/);
  assert.deepEqual((await readdir(place)).toSorted(), ['lost+found', 'root']);
  await run('mount', ['-o', 'remount,ro', place]);
  assert.match((await check('--root', join(place, 'root'))).findings.get('root')!.text, /EROFS: read-only file system/);
  await run('umount', [place]);
});

test('a daemon takes away what a killed one had tried out', async () => {
  const directory = await workspace.directory('killed');
  const trial = join(directory, 'root', 'trial');
  for (const name of ['lower', 'upper', 'work', 'merged']) await mkdir(join(trial, name), { recursive: true });
  await mountOverlay([join(trial, 'lower')], join(trial, 'merged'), {
    upper: join(trial, 'upper'),
    work: join(trial, 'work'),
  });
  await using daemon = await startDaemon(directory);
  assert.ok(!(await readdir(daemon.root)).includes('trial'));
});

test('lazypull check tells a user who is not root just that', async () => {
  const { code, findings } = await checkWith({ uid: '65534', HOME: '/nonexistent' }, '--root', workspace.path);
  assert.equal(code, 1);
  assert.match(findings.get('user')!.advice, /sudo/);
  const wrong = [...findings.values()].filter(({ state }) => state === 'wrong');
  assert.deepEqual(
    wrong.map(({ name }) => name),
    ['user'],
  );
  assert.doesNotMatch(JSON.stringify([...findings.values()]), /modprobe/);

  const directory = await workspace.directory('hidden');
  await chmod(directory, 0o700);
  const hidden = await checkWith({ uid: '65534', HOME: '/nonexistent' }, '--address', join(directory, 'x.sock'));
  assert.match(
    hidden.findings.get('daemon')!.text,
    /^Cannot connect to the socket .*: EACCES/,
    'not that none is there',
  );
});

test('lazypull check names keys that are not known, files of registries that cannot be read, and programs that are missing', async () => {
  const directory = await workspace.directory('files');
  const registries = join(directory, 'certs.d');
  for (const name of ['good.example', 'bad.example']) await mkdir(join(registries, name), { recursive: true });
  await writeFile(join(registries, 'good.example', 'hosts.toml'), 'server = "https://good.example"\n');
  await writeFile(join(registries, 'bad.example', 'hosts.toml'), 'server = \n');
  const config = join(directory, 'config.toml');
  await writeFile(config, `prefetch_sise = 1\n[resolver]\nconfig_path = ${JSON.stringify(registries)}\n`);
  await writeFile(join(directory, 'config.json'), '{\n  "auths": {\n    "x": \n}}');
  const env = { PATH: directory, DOCKER_CONFIG: directory, CONTAINERD_ADDRESS: join(directory, 'none.sock') };
  const address = join(directory, 'lp.sock');
  const { findings } = await checkWith(env, '--root', directory, '--config', config, '--address', address);
  assert.equal(findings.get('config file')?.state, 'warning');
  assert.match(findings.get('config file')!.text, /"prefetch_sise".*\(line 1\).*did you mean "prefetch_size"\?/);
  assert.equal(findings.get('registry bad.example')?.state, 'wrong');
  assert.equal(findings.get('registry good.example'), undefined);
  assert.equal(findings.get('credentials')?.state, 'wrong');
  assert.equal(
    findings.get('daemon')?.advice,
    `start it with "lazypull daemon --address ${address} --root ${directory}"`,
  );
  assert.match(findings.get('containerd')!.text, /not in PATH/);
  assert.match(findings.get('runc')!.text, /not in PATH/);

  await mkdir(join(directory, 'bin'));
  const tool = join(directory, 'bin', 'buildkitd');
  await writeFile(tool, '#!/bin/sh\n', { mode: 0o755 });
  const found = (await checkWith({ ...env, PATH: join(directory, 'bin') }, '--address', address)).findings;
  assert.match(found.get('buildkitd')!.text, new RegExp(`"${tool}" is there`));
  assert.equal(found.get('runc')?.state, 'warning', 'its steps need it');
  assert.equal(found.get('containerd')?.state, 'absent', 'builds do without');
});

test('lazypull check finds the buildkitd of lazypull, and what is in the way of a socket', async () => {
  const home = await workspace.directory('h');
  await mkdir(join(home, 'run', 'lazypull'), { recursive: true });
  const socket = join(home, 'run', 'lazypull', 'buildkitd.sock');
  await using _server = await listenOn(socket);
  await writeFile(join(home, 'file'), '');
  const at = async (address: string) => (await checkWith({ LAZYPULL_HOME: home }, '--address', address)).findings;
  const findings = await at(join(home, 'file'));
  assert.match(
    findings.get('buildkitd')!.text,
    new RegExp(`process ${process.pid} serves "${socket}".*"lazypull buildkitd"`),
  );
  const root = join(home, 'roots', `${home.slice(1).replaceAll('/', '-')}-run-lazypull-buildkitd-snapshotter.sock`);
  const snapshotter = join(home, 'run', 'lazypull-buildkitd', 'snapshotter.sock');
  const starter = `start it with "lazypull daemon --address ${snapshotter} --root ${root}"`;
  assert.equal(findings.get('buildkitd')?.state, 'warning', 'nobody serves its snapshotter');
  assert.equal(findings.get('buildkitd')?.advice, `builds fail until it runs: ${starter}`);
  const own = (await checkWith({ LAZYPULL_HOME: home })).findings;
  assert.equal(own.get('daemon')?.advice, starter, '"lazypull buildkitd" would not start beside the one that runs');
  assert.match(findings.get('socket')!.text, /is not a socket/);
  assert.match((await at(join(home, 'file', 'x.sock'))).get('socket')!.text, /not a directory/i);
});

async function listenOn(path: string): Promise<AsyncDisposable> {
  const server = createServer().listen(path);
  await once(server, 'listening');
  return { [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) };
}
