import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Cgroup } from '../../support/cgroup.ts';
import { launchDaemon } from '../../support/daemon.ts';
import { Workspace } from '../../support/workspace.ts';

/** What a daemon says that cannot start. */
async function lastWord(name: string, start: (directory: string) => ReturnType<typeof launchDaemon>): Promise<string> {
  await using workspace = await Workspace.open(name);
  await using daemon = await start(join(workspace.path, 'lp'));
  await daemon.program.ended;
  assert.equal(daemon.program.outcome, 'ended with status 1');
  return String(daemon.log().at(-1)?.['error']);
}

test('A daemon that may have too little does not start, and says what is to be set', { timeout: 60_000 }, async () => {
  await using threads = await Cgroup.make('pids', 48);
  assert.match(
    await lastWord('lp-pids', (directory) => threads.during(() => launchDaemon(directory))),
    /^Cannot run the daemon: it may start \d+ more threads and processes and needs 48: set TasksMax= /,
  );
  await using memory = await Cgroup.make('memory', 120 << 20);
  assert.match(
    await lastWord('lp-memory', (directory) => memory.during(() => launchDaemon(directory))),
    /^Cannot run the daemon: it may have 120 MiB of memory and needs 256 MiB: set MemoryMax= /,
  );
});
