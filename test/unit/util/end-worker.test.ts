import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { endWorker } from '../../../src/util/end-worker.ts';

/** A thread that makes zlib streams for each command, as unpacking does, and ends as ours do. */
const busy = `
  const { parentPort } = require('node:worker_threads');
  const { createInflateRaw } = require('node:zlib');
  parentPort.on('message', (command) => {
    if (command.kind === 'end') return parentPort.close();
    for (let i = 0; i < 2_000; i++) createInflateRaw().destroy();
    parentPort.postMessage('done');
  });
`;

test('endWorker lets a thread finish what it has: Node aborts the process if one ends while it makes a zlib stream', async () => {
  const worker = new Worker(busy, { eval: true });
  const answers: unknown[] = [];
  worker.on('message', (answer) => answers.push(answer));
  const exited = once(worker, 'exit');
  for (let i = 0; i < 3; i++) worker.postMessage({ kind: 'work' });
  await endWorker(worker);
  assert.deepEqual(await exited, [0]);
  assert.deepEqual(answers, ['done', 'done', 'done']);
  await endWorker(worker);
});
