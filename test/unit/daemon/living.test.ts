import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { daemonAt, daemonOfRoot, isServed, livingDaemons } from '../../../src/daemon/living.ts';
import { startStandIn } from '../../support/stand-in-daemon.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lazypull-living-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('a daemon that runs', () => {
  it('is found by its socket, by its root, and among all of this machine', async () => {
    const root = join(directory, 'root');
    const addresses = [join(directory, 'a.sock'), join(directory, 'b.sock')];
    {
      await using daemon = await startStandIn(root, ...addresses);
      const expected = { pid: daemon.pid, root, addresses };
      assert.deepEqual(await daemonAt(addresses[1]!), expected);
      assert.deepEqual(daemonOfRoot(root), expected);
      assert.deepEqual(
        livingDaemons().find(({ pid }) => pid === daemon.pid),
        expected,
      );
      assert.equal(await isServed(addresses[0]!), true);
    }
    assert.equal(daemonOfRoot(root), undefined); // its lock is there, with its pid
    assert.equal(await daemonAt(addresses[0]!), undefined);
    assert.equal(await isServed(addresses[0]!), false);
  });

  it('is no process that has a lock and no socket, as a command has', async () => {
    await using daemon = await startStandIn(join(directory, 'root'));
    assert.equal(
      livingDaemons().find(({ pid }) => pid === daemon.pid),
      undefined,
    );
  });
});
