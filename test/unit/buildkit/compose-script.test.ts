import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../../../script/buildkit/compose', import.meta.url));

/** What the script makes of its arguments and its environment, with programs that write down how they were called. */
describe('script/buildkit/compose', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-compose-'));
  after(() => rmSync(directory, { recursive: true }));
  const bin = join(directory, 'bin');
  const state = join(directory, 'state');
  const calls = join(directory, 'calls');

  beforeEach(() => {
    for (const path of [bin, state, calls]) rmSync(path, { recursive: true, force: true });
    mkdirSync(bin);
    for (const name of ['env', 'bash', 'readlink', 'dirname', 'mkdir', 'touch', 'ls', 'tail', 'tac', 'cat', 'rm']) {
      symlinkSync(`/usr/bin/${name}`, join(bin, name));
    }
    fake('id', 'echo 0');
    fake('findmnt', 'case "$*" in *--target*) echo shared ;; *) echo / ;; esac');
    fake('docker', `echo "$* | \${HTTP_PROXY-} \${https_proxy-} \${NO_PROXY-}" >> ${calls}`);
  });

  it('starts everything in one command, and says how it is used', () => {
    const { status, stdout } = run(['up']);
    assert.equal(status, 0);
    assert.match(called(), /^compose --file \S+\/share\/compose\/compose\.yaml up --detach --build --wait \|/m);
    assert.match(stdout, new RegExp(`docker buildx create .* unix://${state}/buildkitd\\.sock\n`));
  });

  it('removes everything in one command', () => {
    run(['up']);
    writeFileSync(join(state, 'layer'), '');
    assert.equal(run(['down']).status, 0);
    assert.match(called(), / down --volumes --remove-orphans \|/);
    assert.ok(!existsSync(state));
  });

  it('passes on the proxy that is set, and what goes past it', () => {
    run(['up'], { HTTP_PROXY: 'http://proxy:1' });
    assert.match(called(), / \| http:\/\/proxy:1 http:\/\/proxy:1 127\.0\.0\.1,localhost$/m);
    run(['ps'], { http_proxy: 'http://proxy:1', HTTPS_PROXY: 'http://proxy:2', no_proxy: 'here' });
    assert.match(called(), / ps \| http:\/\/proxy:1 http:\/\/proxy:2 here,127\.0\.0\.1,localhost$/m);
  });

  it('keeps its hands off a directory that has files of others', () => {
    mkdirSync(state);
    writeFileSync(join(state, 'precious'), '');
    assert.match(run(['up']).stderr, /it has files of others/);
    assert.equal(run(['down']).status, 0);
    assert.ok(existsSync(join(state, 'precious')));
    assert.match(run(['down'], { LAZYPULL_STATE: '/' }).stderr, /must be the absolute path of a directory, and not \//);
  });

  it('says what is missing', () => {
    fake('findmnt', 'echo private');
    assert.match(run(['up']).stderr, /its mount is private: run "mount --make-rshared \/"/);
    fake('id', 'echo 1000');
    assert.match(run(['up']).stderr, /run it as root/);
    rmSync(join(bin, 'docker'));
    const { status, stderr } = run(['up']);
    assert.equal(status, 1);
    assert.match(stderr, /^script\/buildkit\/compose: Docker Compose is missing: install it/);
    assert.match(run([]).stderr, /What shall be done\?/);
  });

  function run(args: string[], env: Record<string, string> = {}) {
    return spawnSync(script, args, { encoding: 'utf8', env: { PATH: bin, LAZYPULL_STATE: state, ...env } });
  }

  function called(): string {
    return readFileSync(calls, 'utf8');
  }

  function fake(name: string, commands: string): void {
    writeFileSync(join(bin, name), `#!/bin/bash\n${commands}\n`);
    chmodSync(join(bin, name), 0o755);
  }
});
