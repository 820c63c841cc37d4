import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * What a daemon of lazypull looks like from outside: a process that listens at a socket and has the lock of a root
 * open, with its pid in it.
 */
const script = `
const { createServer } = require('node:net');
const { openSync, writeSync } = require('node:fs');
const [root, ...addresses] = process.argv.slice(2);
writeSync(openSync(root + '/lock', 'w'), process.pid + '\\n');
let waiting = addresses.length;
for (const address of addresses) createServer().listen(address, () => --waiting || process.stdout.write('ready'));
`;

/**
 * Starts one, of which the command line says what a daemon's does; it needs neither root nor mounts, and answers
 * nothing.
 */
export async function startStandIn(root: string, ...addresses: string[]): Promise<AsyncDisposable & { pid: number }> {
  return start('exec "$@"', root, addresses);
}

/** The same as a service that systemd has started. */
export async function startServiceStandIn(root: string, address: string): Promise<AsyncDisposable & { pid: number }> {
  return start('SYSTEMD_EXEC_PID=$$ exec "$@"', root, [address]);
}

async function start(
  shell: string,
  root: string,
  addresses: readonly string[],
): Promise<AsyncDisposable & { pid: number }> {
  for (const directory of [root, ...addresses.map((address) => dirname(address))]) {
    mkdirSync(directory, { recursive: true });
  }
  const program = join(root, 'lazypull.js');
  writeFileSync(program, script);
  const child: ChildProcess = spawn('sh', ['-c', shell, 'sh', process.execPath, program, root, ...addresses]);
  const ended = once(child, 'exit');
  await Promise.race([once(child.stdout!, 'data'), ended]);
  return {
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
