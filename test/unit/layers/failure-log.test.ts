import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FailureLog } from '../../../src/layers/failure-log.ts';
import { type Log, silentLog } from '../../../src/log.ts';

function setUp() {
  const lines: object[] = [];
  const log: Log = { ...silentLog, error: (fields) => lines.push(fields) };
  let lookUps = 0;
  const failures = new FailureLog({
    layer: 'sha256:1',
    log,
    pathsAt: async (offsets) => {
      lookUps++;
      return offsets.map((offset) => `file-${offset}`);
    },
  });
  return { failures, lines, lookUps: () => lookUps };
}

test('FailureLog names the layer, the file and the cause', async () => {
  const { failures, lines } = setUp();
  failures.add(4096, new Error('Wrong chunk digest'), true);
  await failures.close();
  assert.deepEqual(lines, [{ layer: 'sha256:1', file: 'file-4096', error: 'Wrong chunk digest' }]);
});

test('FailureLog looks paths up once for thousands of failures, and logs those that a reader waits for', async () => {
  const { failures, lines, lookUps } = setUp();
  for (let i = 0; i < 5000; i++) failures.add(i, new Error('Bad'), i === 3000);
  await failures.close();
  assert.equal(lookUps(), 1);
  assert.equal(lines.length, 11);
  assert.deepEqual(lines[0], { layer: 'sha256:1', file: 'file-3000', error: 'Bad' });
  assert.deepEqual(lines.at(-1), { layer: 'sha256:1', parts: 4990 });
});

test('FailureLog logs without paths when they cannot be read', async () => {
  const lines: object[] = [];
  const failures = new FailureLog({
    layer: 'sha256:1',
    log: { ...silentLog, error: (fields) => lines.push(fields) },
    pathsAt: () => Promise.reject(new Error('EACCES')),
  });
  failures.add(0, new Error('Bad'), false);
  await failures.close();
  assert.deepEqual(lines, [{ layer: 'sha256:1', file: '', error: 'Bad' }]);
});
