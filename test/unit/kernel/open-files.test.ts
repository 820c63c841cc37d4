import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'node:test';

const openFiles = fileURLToPath(new URL('../../../src/kernel/open-files.ts', import.meta.url));

/** Opens itself as often as it may, and then for a moment. */
const program = `
import { closeSync, openSync } from 'node:fs';
const { openForLong } = await import(${JSON.stringify(openFiles)});
const open = [];
const error = await (async () => {
  while (true) open.push(await openForLong('/dev/null'));
})().catch((error) => error);
for (let i = 0; i < 30; i++) openSync('/dev/null');
console.log(JSON.stringify({ opened: open.length, code: error.code, message: error.message, hint: error.hint }));
process.exit();
`;

test('openForLong leaves descriptors to what is open for moments', async () => {
  const args = ['--nofile=100:100', process.execPath, '--input-type=module', '--eval', program];
  const { stdout } = await promisify(execFile)('prlimit', args);
  const { opened, code, message, hint } = JSON.parse(stdout) as Record<string, unknown>;
  assert.ok(Number(opened) > 10, `${String(opened)} files`);
  assert.equal(code, 'ResourceExhausted');
  assert.equal(message, 'Cannot keep "/dev/null" open: 100 files may be open, and few are left');
  assert.match(String(hint), /^raise the number of files/);
});
