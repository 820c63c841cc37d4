import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findingText } from '../../../src/cli/check.ts';

test('lazypull setup --write leaves a file alone that it cannot change, and shows what belongs into it', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-cli-'));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'buildkitd.toml');
  const text = 'worker = { oci = { gc = true } }\n';
  await writeFile(file, text);
  const { code, stdout, stderr } = await lazypull(
    'setup',
    'buildkit',
    '--write',
    '--file',
    file,
    '--address',
    '/run/x',
  );
  assert.equal(code, 1);
  assert.match(stdout, /^\[worker\.oci\]\n[^]*proxySnapshotterPath = "\/run\/x"\n$/);
  assert.match(stderr, /^lazypull: Cannot change ".*": It is written in a way .*\nlazypull: Nothing was changed/);
  assert.equal(await readFile(file, 'utf8'), text);
  assert.deepEqual(await readdir(directory), ['buildkitd.toml']);
});

test('lazypull check says what mends a thing below what is wrong with it', () => {
  assert.equal(
    findingText({ name: 'FUSE', state: 'wrong', text: 'Cannot\x07', advice: 'run "modprobe fuse"' }),
    'WRONG FUSE: Cannot?\n      run "modprobe fuse"\n',
  );
  assert.equal(findingText({ name: 'user', state: 'right', text: 'root', advice: '' }), 'ok    user: root\n');
});

const bin = fileURLToPath(new URL('../../../src/bin/lazypull.ts', import.meta.url));

function lazypull(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bin, ...args], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}
