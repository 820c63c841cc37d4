import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readOwnFile } from '../../../src/kernel/own-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'lazypull-own-'));
after(() => rmSync(directory, { recursive: true }));

test('readOwnFile gives the text of a file, up to a length', () => {
  const path = join(directory, 'file');
  writeFileSync(path, 'grün');
  assert.equal(readOwnFile(path, 5), 'grün');
  assert.throws(() => readOwnFile(path, 4), { code: 'DataLoss', message: /is longer than 4 bytes$/ });
  assert.throws(() => readOwnFile(join(directory, 'absent')), { code: 'ENOENT' });
});

test('readOwnFile refuses what is no file', () => {
  const path = join(directory, 'directory');
  mkdirSync(path);
  assert.throws(() => readOwnFile(path), { code: 'DataLoss', message: /is no ordinary file$/ });
});

test('readOwnFile does not wait at a named pipe', () => {
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  // A call that waits for ever blocks its process, so it has one of its own.
  const module = new URL('../../../src/kernel/own-file.ts', import.meta.url).href;
  const program = `import { readOwnFile } from ${JSON.stringify(module)};
    try { readOwnFile(${JSON.stringify(path)}); } catch (error) { console.log(error.code); }`;
  const options = { encoding: 'utf8', timeout: 20_000 } as const;
  const { stdout, error } = spawnSync(process.execPath, ['--input-type=module', '-e', program], options);
  assert.deepEqual([stdout, error], ['DataLoss\n', undefined]);
});
