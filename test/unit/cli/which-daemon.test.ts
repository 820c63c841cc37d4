import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it, type TestContext } from 'node:test';
import { containerdAt, instanceAt, ownPlaces } from '../../../src/buildkit/places.ts';
import { type DaemonUse, whichDaemon } from '../../../src/cli/which-daemon.ts';
import { defaults } from '../../../src/config/load.ts';
import { startStandIn } from '../../support/stand-in-daemon.ts';

let home: string;
let env: NodeJS.ProcessEnv;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'lazypull-which-'));
  env = { LAZYPULL_HOME: home };
});
afterEach(() => rmSync(home, { recursive: true }));

const which = (flags: { address?: string; root?: string }, use: DaemonUse = 'reads', more: NodeJS.ProcessEnv = {}) =>
  whichDaemon(flags, { env: { ...env, ...more }, name: 'lazypull' }, use);

/** What is written to standard error in the meantime. */
function listen(t: TestContext): () => string {
  let text = '';
  t.mock.method(process.stderr, 'write', (chunk: string) => ((text += chunk), true));
  return () => text;
}

const own = () => instanceAt(ownPlaces(env).snapshotter, env);
const ofContainerd = () => containerdAt(ownPlaces(env).containerd, env).lazypull;

describe('whichDaemon, with flags', () => {
  it('takes what they name, and for the rest what a daemon has that is started with them', async () => {
    const { address, root } = defaults;
    assert.deepEqual(await which({ address: join(home, 'a.sock') }, 'asks'), { address: join(home, 'a.sock'), root });
    assert.deepEqual(await which({ root: join(home, 'r') }), { address, root: join(home, 'r') });
    assert.deepEqual(await which({ address: own().address }), own());
    assert.deepEqual(await which({ root: own().root }), own());
  });

  it('lets them win over the variables, and these over what runs', async () => {
    await using _ = await startStandIn(own().root, own().address);
    const variables = { LAZYPULL_ADDRESS: join(home, 'v.sock'), LAZYPULL_ROOT: join(home, 'v') };
    assert.deepEqual(await which({}, 'changes', variables), { address: join(home, 'v.sock'), root: join(home, 'v') });
    assert.deepEqual(await which({ root: own().root }, 'changes', variables), own());
    assert.deepEqual(await which({ address: own().address }, 'changes', variables), own());
  });

  it('finds the root of the daemon at any socket, and the socket of the one with any root', async () => {
    const odd = { address: join(home, 'odd.sock'), root: join(home, 'odd') };
    await using _ = await startStandIn(odd.root, odd.address, join(home, 'second.sock'));
    assert.deepEqual(await which({ address: odd.address }, 'changes'), odd);
    assert.deepEqual(await which({ address: `unix://${odd.address}` }, 'changes'), odd);
    assert.deepEqual(await which({ root: odd.root }, 'changes'), odd);
    const second = await which({ address: join(home, 'second.sock') }, 'changes');
    assert.deepEqual(second, { ...odd, address: join(home, 'second.sock') });
  });

  it('refuses a socket and a root that are not of one daemon, and a root that it would have to guess', async () => {
    await using _ = await startStandIn(own().root, own().address);
    await assert.rejects(which({ address: own().address, root: join(home, 'other') }, 'changes'), {
      message: new RegExp(`^The daemon at "${own().address}" has the root "${own().root}", and not "${home}/other":`),
    });
    await assert.rejects(which({ address: join(home, 'none.sock') }, 'changes', { LAZYPULL_ROOT: own().root }), {
      message: new RegExp(`^Cannot tell the root of the daemon at "${home}/none.sock"`),
      hint: 'give its --root',
    });
  });
});

describe('whichDaemon, without flags', () => {
  it('takes the only daemon that runs below LAZYPULL_HOME, wherever that is', async () => {
    {
      await using _ = await startStandIn(ofContainerd().root, ofContainerd().address);
      assert.deepEqual(await which({}, 'changes'), ofContainerd());
    }
    const odd = { address: join(home, 'x/lp.sock'), root: instanceAt(join(home, 'x/lp.sock'), env).root };
    await using _ = await startStandIn(odd.root, odd.address);
    assert.deepEqual(await which({}, 'changes'), odd);
  });

  it('takes the first of several to look and says so, and refuses to change one of them', async (t) => {
    await using _ = await startStandIn(own().root, own().address);
    await using __ = await startStandIn(ofContainerd().root, ofContainerd().address);
    const said = listen(t);
    assert.deepEqual(await which({}, 'asks'), own());
    const list = [own(), ofContainerd()].map(({ address, root }) => `  "${address}", root "${root}"`).join('\n');
    assert.equal(
      said(),
      `lazypull: Several daemons run; this is about the first; --address or --root chooses another\n${list}\n`,
    );
    for (const use of ['changes', 'stops'] as const) {
      await assert.rejects(which({}, use), {
        code: 'FailedPrecondition',
        message: `Several daemons run: choose one with --address or --root\n${list}`,
      });
    }
    assert.deepEqual(await which({ root: ofContainerd().root }, 'changes'), ofContainerd());
  });

  it('counts a daemon with several sockets once', async (t) => {
    const said = listen(t);
    await using _ = await startStandIn(own().root, own().address, ofContainerd().address);
    assert.deepEqual(await which({}, 'changes'), own());
    assert.equal(said(), '');
  });

  it('takes the root in which something is if none runs, and refuses to change one of several', async (t) => {
    assert.deepEqual(await which({}, 'changes'), own());
    const keep = ({ root }: { root: string }) => {
      mkdirSync(root, { recursive: true });
      writeFileSync(join(root, 'lock'), `${process.pid}\n`); // of a process that does not have it
    };
    keep(ofContainerd());
    assert.deepEqual(await which({}, 'changes'), ofContainerd());
    keep(own());
    await assert.rejects(which({}, 'changes'), { message: /^No daemon runs, and several roots have something/ });
    const said = listen(t);
    assert.deepEqual(await which({}, 'reads'), own());
    const [line, ...roots] = said().trimEnd().split('\n');
    assert.match(line!, /^lazypull: No daemon runs, and several roots have something; this is about the first/);
    assert.deepEqual(
      roots,
      [own(), ofContainerd()].map(({ root }) => `  root "${root}"`),
      'and no socket',
    );
  });
});
