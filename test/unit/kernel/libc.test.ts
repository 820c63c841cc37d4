import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { syscallNow } from '../../../src/kernel/libc.ts';

test('syscallNow makes a call again that a signal has interrupted', () => {
  const poll = syscallNow<[null, number, number]>('poll', 'int poll(void *fds, unsigned long count, int timeout)');
  process.on('SIGWINCH', () => undefined);
  spawn('sh', ['-c', `i=0; while [ $i -lt 40 ]; do kill -WINCH ${process.pid}; i=$((i + 1)); sleep 0.01; done`]);
  assert.equal(poll(null, 0, 200), 0);
});
