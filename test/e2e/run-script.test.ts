import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { listenerPid } from '../../src/kernel/unix-socket.ts';
import { attachBuildkitd, stateFlags } from '../support/buildkitd.ts';
import { Lab, lazypullAgent } from '../support/lab.ts';
import { Program, run } from '../support/program.ts';
import { repository } from '../support/tools.ts';

let lab: Lab;

before(async () => {
  lab = await Lab.open();
});
after(() => lab[Symbol.asyncDispose]());

test('script/buildkit/run.sh starts lazypull and buildkitd from the flags of the seed, and started again uses the same lazypull', async () => {
  const directory = join(lab.workspace.path, 'run');
  await mkdir(directory);
  const socket = join(directory, 'lp.sock');
  const flags = ['--oci-worker-snapshotter=stargz', `--oci-worker-proxy-snapshotter-address=unix://${socket}`];
  const context = await lab.context('hello', 'ARG BASE\nFROM ${BASE}\nRUN echo hello > /hello.txt\n');
  try {
    const first = await buildWithScript(directory, flags, socket, context);
    const second = await buildWithScript(directory, flags, socket, context);
    assert.equal(first, second, 'the second run started another lazypull');
  } finally {
    await endListener(socket);
  }
});

/** Gives the pid of the lazypull that served the build. */
async function buildWithScript(
  directory: string,
  flags: readonly string[],
  socket: string,
  context: string,
): Promise<number> {
  const state = join(directory, 'bk');
  await mkdir(state, { recursive: true });
  const program = new Program({
    name: 'run.sh',
    command: join(repository, 'script', 'buildkit', 'run.sh'),
    args: [...flags, '--containerd-worker=false', '--oci-worker-net=host', ...stateFlags(state)],
    log: join(state, 'run.log'),
    env: { LAZYPULL_HOME: join(directory, 'home') },
  });
  await using buildkitd = await attachBuildkitd(state, program);
  const since = lab.relay.requests.length;
  const tar = join(state, 'out.tar');
  await buildkitd.build({ context, buildArgs: { BASE: lab.reference('base:esgz') }, output: `type=tar,dest=${tar}` });
  assert.equal(await run('tar', ['-xf', tar, 'hello.txt', '-O']), 'hello\n');
  const pulls = lab.relay.requests
    .slice(since)
    .filter(
      ({ agent, path }) => !lazypullAgent.test(agent) && lab.base.layers.some(({ digest }) => path.includes(digest)),
    );
  assert.deepEqual(pulls, [], 'the client pulled a layer');
  const pid = await listenerPid(socket);
  assert.ok(pid !== undefined);
  return pid;
}

/** lazypull runs on after run.sh, as it is started in the background. */
async function endListener(socket: string): Promise<void> {
  const pid = await listenerPid(socket);
  if (pid === undefined) return;
  process.kill(pid, 'SIGTERM');
  while ((await listenerPid(socket)) !== undefined) await delay(50);
}
