import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it, test } from 'node:test';
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

test('daemonOfRoot finds no daemon, and does not wait, if the lock is a named pipe', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'lazypull-living-'));
  t.after(() => rmSync(root, { recursive: true }));
  execFileSync('mkfifo', [join(root, 'lock')]);
  // A call that waits for ever blocks its process, so it has one of its own.
  const module = new URL('../../../src/daemon/living.ts', import.meta.url).href;
  const program = `import { daemonOfRoot } from ${JSON.stringify(module)};
    console.log(String(daemonOfRoot(${JSON.stringify(root)})));`;
  const { stdout, error } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  assert.equal(error, undefined);
  assert.equal(stdout, 'undefined\n');
});
