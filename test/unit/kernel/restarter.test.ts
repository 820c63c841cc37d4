import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { endRestarters, restarting } from '../../../src/kernel/restarter.ts';
import { until } from '../../support/until.ts';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lazypull-restarter-'));
});
afterEach(() => rmSync(root, { recursive: true }));

/** Runs a script again and again; it finds the number of its life in $LIFE. */
function start(script: string) {
  const count = 'LIFE=$(($(cat lives 2>/dev/null || echo 0) + 1)); echo $LIFE > lives; ';
  const [file, ...args] = restarting(root, ['/bin/sh', '-c', count + script]) as [string, ...string[]];
  const child = spawn(file, args, { cwd: root, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => said.push(part.toString()));
  return { child, ended: once(child, 'close'), said: () => said.join('') };
}

const lives = (): number => (existsSync(join(root, 'lives')) ? Number(readFileSync(join(root, 'lives'), 'utf8')) : 0);

describe('restarting', () => {
  it('starts a program again that was killed or has failed, with a line of the log for each time, until it ends well', async () => {
    const { ended, said } = start('echo "life $LIFE" >&2; case $LIFE in 1) kill -9 $$;; 2) exit 1;; *) exit 0;; esac');
    assert.deepEqual(await ended, [0, null]);
    assert.equal(lives(), 3);
    const lines = said().trimEnd().split('\n');
    assert.deepEqual(
      lines.filter((line) => !line.startsWith('{')),
      ['life 1', 'life 2', 'life 3'],
    );
    const log = lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      log.map(({ level, ended, delaySeconds, msg }) => ({ level, ended, delaySeconds, msg })),
      [
        { ended: 'signal 9', delaySeconds: 0 },
        { ended: 'exit code 1', delaySeconds: 1 },
      ].map((each) => ({ level: 'error', ...each, msg: 'the daemon has ended: another one is started' })),
    );
    assert.ok(!Number.isNaN(Date.parse(String(log[0]!['time']))));
  });

  it('ends with a program that cannot start, and has its exit code', async () => {
    const { ended, said } = start('echo why; exit 3');
    assert.deepEqual(await ended, [3, null]);
    assert.equal(said(), 'why\n');
    assert.equal(lives(), 1);
  });
});

describe('endRestarters', () => {
  it('ends one that waits to start a program, by any path of its root', async () => {
    const { ended } = start('kill -9 $$');
    await until(() => lives() === 2);
    symlinkSync(root, join(root, 'link'));
    assert.equal(await endRestarters(join(root, 'link'), () => false), true);
    assert.deepEqual(await ended, [null, 'SIGKILL']);
    assert.equal(await endRestarters(root, () => false), false);
  });

  it('ends a program that does not have the root yet, and leaves one that has it to the caller', async () => {
    const young = start('exec sleep 60');
    await until(() => lives() === 1);
    assert.equal(await endRestarters(root, () => false), true);
    await young.ended;
    const grown = start('while [ ! -e over ]; do sleep 0.01; done; echo over');
    await until(() => lives() === 2);
    assert.equal(await endRestarters(root, () => true), true);
    writeFileSync(join(root, 'over'), '');
    await grown.ended;
    assert.equal(grown.said(), 'over\n');
  });
});
