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

test('script/sample and script/setup say before they install anything how they are used, in 80 columns, and what cannot be', () => {
  const call = (name: string, ...args: string[]) => {
    const path = fileURLToPath(new URL(`../../../script/${name}`, import.meta.url));
    return spawnSync('bash', [path, ...args], { encoding: 'utf8', timeout: 60_000 });
  };
  for (const name of ['sample', 'setup']) {
    const { status, stdout, stderr } = call(name, '--help');
    assert.deepEqual([status, stderr], [0, '']);
    assert.ok(stdout.startsWith(`Usage: script/${name} [`), stdout);
    assert.deepEqual(
      stdout.split('\n').filter((line) => line.length > 80),
      [],
    );
  }
  for (const [args, message] of [
    [['--bogus'], 'Unknown argument "--bogus"'],
    [['--keep', 'x'], 'Unknown argument "x"'],
    [['--worker'], '--worker needs a value'],
    [['--worker', 'x'], 'Unknown worker "x"'],
    [['--worker=x'], 'Unknown worker "x"'],
    [['--worker', 'oci', '--base'], '--base needs a value'],
  ] as const) {
    const { status, stdout, stderr } = call('sample', ...args);
    assert.deepEqual([status, stdout, stderr], [2, '', `script/sample: ${message}; see script/sample --help\n`]);
  }
  assert.equal(call('setup', 'bogus').status, 1);
});
