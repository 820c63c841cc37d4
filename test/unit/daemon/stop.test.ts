import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { daemonOfRoot } from '../../../src/daemon/living.ts';
import { stopDaemon } from '../../../src/daemon/stop.ts';
import { listenAt } from '../../../src/kernel/unix-socket.ts';
import { startServiceStandIn, startStandIn } from '../../support/stand-in-daemon.ts';

let directory: string;
let root: string;
let address: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lazypull-stop-'));
  root = join(directory, 'root');
  address = join(directory, 'lp.sock');
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('stopDaemon', () => {
  it('ends the daemon that has the root and waits until it has ended, whichever of its sockets is known', async () => {
    await using daemon = await startStandIn(root, address);
    assert.deepEqual(await stopDaemon(root, join(directory, 'another.sock')), {
      daemon: daemon.pid,
      keeper: undefined,
      mounts: 0,
    });
    assert.equal(daemonOfRoot(root), undefined);
  });

  it('leaves a service of systemd to systemd, which would start it again', async () => {
    await using daemon = await startServiceStandIn(root, address);
    await assert.rejects(stopDaemon(root, address), {
      code: 'FailedPrecondition',
      message: new RegExp(`^Cannot stop process ${daemon.pid}: systemd runs it, and would start it again$`),
      hint: /^run "systemctl stop [^"]+"$/,
    });
    assert.equal(daemonOfRoot(root)?.pid, daemon.pid);
  });

  it('ends nothing that is no daemon with this root', async () => {
    await assert.rejects(stopDaemon(root, address), { code: 'NotFound', message: /nothing to stop$/ });
    const fd = await listenAt(address); // by this process
    try {
      await assert.rejects(stopDaemon(root, address), {
        code: 'FailedPrecondition',
        message: new RegExp(
          `^Cannot stop what serves ".*", process ${process.pid}, .*: it is not a daemon of lazypull`,
        ),
      });
    } finally {
      closeSync(fd);
    }
  });
});
