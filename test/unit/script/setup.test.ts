import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const setup = fileURLToPath(new URL('../../../script/setup', import.meta.url));

test('script/setup says before it installs anything that a Node is too old', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-setup-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const program = (name: string, text: string) => {
    writeFileSync(join(directory, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(directory, name), 0o755);
  };
  const run = () => {
    const env = { PATH: `${directory}:/usr/bin:/bin` };
    return spawnSync('bash', [setup, 'node'], { encoding: 'utf8', env });
  };
  program('node', 'echo 18');
  program('npm', 'echo "npm was called" >&2; exit 9');
  const old = run();
  assert.equal(old.status, 1);
  assert.equal(
    old.stderr,
    `script/setup: ${directory}/node is Node 18: install Node 20 or later (https://nodejs.org/en/download)\n`,
  );
  assert.equal(old.stdout, '');
});
