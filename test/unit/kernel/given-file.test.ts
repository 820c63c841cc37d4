import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readGivenFile } from '../../../src/kernel/given-file.ts';
import { Workspace } from '../../support/workspace.ts';

test('readGivenFile reads files, and pipes that are written into before or later', async () => {
  await using workspace = await Workspace.open('lp-given');
  const file = join(workspace.path, 'file');
  const content = Buffer.alloc(150_000, 'x');
  await writeFile(file, content);
  assert.deepEqual(await readGivenFile(file, content.length), content);
  assert.deepEqual(await readGivenFile('/dev/null', 10), Buffer.alloc(0));
  const pipe = join(workspace.path, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const reading = readGivenFile(pipe, content.length);
  const writer = spawn('sh', [
    '-c',
    'sleep 0.1; (head -c 70000 "$0"; sleep 0.1; tail -c 80000 "$0") > "$1"',
    file,
    pipe,
  ]);
  assert.deepEqual(await reading, content);
  writer.kill();
});

test('readGivenFile refuses what is too large, and does not wait for ever for a pipe', async () => {
  await using workspace = await Workspace.open('lp-given');
  const file = join(workspace.path, 'file');
  await writeFile(file, 'four');
  await assert.rejects(readGivenFile(file, 3), /file" is larger than 3 bytes/);
  await assert.rejects(readGivenFile('/dev/zero', 100_000), /"\/dev\/zero" is larger than 100000 bytes/);
  await assert.rejects(readGivenFile(workspace.path, 1 << 20), { code: 'EISDIR' });
  const pipe = join(workspace.path, 'pipe');
  execFileSync('mkfifo', [pipe]);
  await assert.rejects(readGivenFile(pipe, 10, 100), /pipe" is a pipe, and not all has come in 0.1 s/);
  const writer = spawn('sh', ['-c', 'exec 3> "$0"; echo x >&3; exec sleep 10', pipe], { stdio: 'ignore' });
  await assert.rejects(readGivenFile(pipe, 10, 500), /not all has come/);
  writer.kill();
});
