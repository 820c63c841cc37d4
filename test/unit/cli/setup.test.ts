import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { resultText } from '../../../src/cli/check.ts';

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

test('lazypull setup shows what makes a client use the mirror, and refuses what cannot be', async () => {
  const wanted = ['--mirror', '127.0.0.1:8235', '--registry', 'a.io', 'localhost:5000'];
  const { code, stdout, stderr } = await lazypull('setup', 'buildkit', ...wanted);
  assert.equal(code, 0, stderr);
  assert.match(
    stdout,
    /\[registry\."a\.io"\]\n {2}mirrors = \["127\.0\.0\.1:8235"\]\n\n\[registry\."localhost:5000"\]/,
  );
  assert.match(stderr, /lazypull daemon .* --mirror-address 127\.0\.0\.1:8235\n/);
  const all = await lazypull('setup', 'containerd', '--mirror', '127.0.0.1:8235');
  assert.match(all.stdout, /\[host\."http:\/\/127\.0\.0\.1:8235"\]\n {2}capabilities = \["pull","resolve"\]/);
  assert.match(all.stderr, /belongs into "\/etc\/containerd\/certs\.d\/_default\/hosts\.toml"/);
  const docker = await lazypull('setup', 'docker', ...wanted);
  assert.match(docker.stderr, /belongs into "\/etc\/docker\/certs\.d\/localhost:5000\/hosts\.toml"/);
  for (const [wrong, message] of [
    [['buildkit', '--registry', 'a.io'], /--registry without --mirror/],
    [['buildkit', '--mirror', 'x'], /the mirror "x": it must be like/],
    [['buildkit', '--mirror', '127.0.0.1:1', '--registry', '../x'], /the registry "\.\.\/x"/],
  ] as const) {
    const refused = await lazypull('setup', ...wrong);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, message);
  }
});

test('lazypull check says what mends a thing below what is wrong with it', () => {
  assert.equal(
    resultText({ name: 'FUSE', state: 'wrong', text: 'Cannot\x07', advice: 'run "modprobe fuse"' }),
    'WRONG FUSE: Cannot?\n      run "modprobe fuse"\n',
  );
  assert.equal(resultText({ name: 'user', state: 'right', text: 'root', advice: '' }), 'ok    user: root\n');
});

const bin = fileURLToPath(new URL('../../../src/bin/lazypull.ts', import.meta.url));

function lazypull(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bin, ...args], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}
