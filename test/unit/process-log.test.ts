import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LogFormat } from '../../src/log.ts';
import { createLog } from '../../src/process-log.ts';

/** What a log of a format writes. */
function lines(format: LogFormat, use: (log: ReturnType<typeof createLog>) => void): string {
  let text = '';
  use(createLog('debug', format, { write: (line) => (text += line) }));
  return text;
}

describe('the log', () => {
  it('is a JSON object a line if it goes to no terminal, with the keys of containerd', () => {
    const entry = JSON.parse(lines('auto', (log) => log.warn({ layer: 'x' }, 'Something'))) as Record<string, unknown>;
    assert.deepEqual([entry.level, entry.msg, entry.layer], ['warn', 'Something', 'x']);
    assert.match(String(entry.time), /^\d{4}-\d\d-\d\dT/);
    assert.doesNotThrow(() => JSON.parse(lines('json', (log) => log.info({}, 'x'))));
  });

  it('is for people if that is asked for: the time, the level, the message, then the fields', () => {
    const fields = { address: '/run/lp.sock', layers: 3, error: 'two words', clients: { a: '/b' }, none: '' };
    assert.match(
      lines('text', (log) => log.info(fields, 'lazypull is ready')),
      /^\d\d:\d\d:\d\d INFO {2}lazypull is ready address=\/run\/lp\.sock layers=3 error="two words" clients=\{"a":"\/b"\} none=""\n$/,
    );
    assert.match(
      lines('text', (log) => log.fatal({ stack: 'Error: x\n    at y' }, 'Unexpected error')),
      /^\d\d:\d\d:\d\d FATAL Unexpected error\nError: x\n {4}at y\n$/,
    );
  });

  it('lets no name command the terminal', () => {
    const text = lines('text', (log) => log.error({ file: 'a\x1b[2J\u202eb\nc' }, 'x\x07'));
    assert.match(text, /^\S+ ERROR x\? file=a\?\[2J\?b\?c\n$/);
    const file = 'a\x1b[2J\u009b2J\x7f\u202eb\nc';
    const json = lines('json', (log) => log.error({ file }, 'x\u009b'));
    assert.doesNotMatch(json.slice(0, -1), /[\p{Cc}\p{Cf}]/u);
    assert.equal((JSON.parse(json) as { file: string }).file, file);
  });
});
