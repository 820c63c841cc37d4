import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

test('exitWritten ends a process with all its output while one of its threads waits in a system call', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'exit-'));
  t.after(() => rmSync(directory, { recursive: true }));
  execFileSync('mkfifo', [join(directory, 'pipe')]);
  const exit = new URL('../../../src/kernel/exit.ts', import.meta.url).href;
  const script = `
    import { openSync } from 'node:fs';
    import { Worker } from 'node:worker_threads';
    import { exitWritten } from '${exit}';
    const worker = new Worker(
      "import { workerData, parentPort } from 'node:worker_threads'; import fs from 'node:fs'; parentPort.postMessage(0); fs.readSync(workerData, Buffer.alloc(1));",
      { eval: true, workerData: openSync('${directory}/pipe', 'r+') },
    );
    await new Promise((resolve) => worker.once('message', resolve));
    await new Promise((resolve) => setTimeout(resolve, 100));
    process.stdout.write('x'.repeat(1 << 20));
    process.stderr.write('errors');
    await exitWritten(7);`;
  const failure = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], {
    timeout: 30_000,
    killSignal: 'SIGKILL',
    maxBuffer: 1 << 22,
  }).then(
    () => assert.fail('The exit code is 7'),
    (error: { code: number; killed: boolean; stdout: string; stderr: string }) => error,
  );
  assert.equal(failure.killed, false);
  assert.equal(failure.code, 7, failure.stderr);
  assert.equal(failure.stdout.length, 1 << 20);
  assert.equal(failure.stderr, 'errors');
});

for (const when of ['before it ends', 'while it ends']) {
  test(`exitWritten bounds the wait for a reader of the output if the process is told to end ${when}`, async (t) => {
    const exit = new URL('../../../src/kernel/exit.ts', import.meta.url).href;
    const script = `
      import { exitWritten, noteToldToEnd } from '${exit}';
      process.stdout.write('x'.repeat(1 << 23));
      if (${when.startsWith('before')}) noteToldToEnd();
      else setTimeout(noteToldToEnd, 100);
      await exitWritten(7);`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'], // it is not read
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
    t.after(() => child.stdout.destroy());
    assert.deepEqual(await once(child, 'exit'), [7, null]);
  });
}
