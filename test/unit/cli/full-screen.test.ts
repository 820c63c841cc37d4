import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { WriteStream } from 'node:tty';
import { FullScreen } from '../../../src/cli/full-screen.ts';

/** What a test needs of a terminal of so many lines. */
function terminal(rows: number): { stream: WriteStream; written: () => string } {
  let text = '';
  const stream = new PassThrough();
  stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return { stream: Object.assign(stream, { rows }) as unknown as WriteStream, written: () => text };
}

test('FullScreen takes the whole terminal, draws line by line, and restores what was there', async () => {
  const { stream, written } = terminal(2);
  let text = 'one\ntwo\nthree\n';
  {
    using screen = new FullScreen(stream, () => text);
    await screen.draw();
    assert.ok(written().endsWith('\x1b[Hone\x1b[K\ntwo\x1b[K\x1b[J\x1b[?2026l'), JSON.stringify(written()));
    text = 'resized\n';
    stream.emit('resize');
    await new Promise((resolve) => setImmediate(resolve));
    assert.match(written(), /resized/);
    assert.ok(!screen.ended.aborted);
    process.emit('SIGINT');
    assert.ok(screen.ended.aborted);
  }
  assert.ok(written().startsWith('\x1b[?1049h\x1b[?25l') && written().endsWith('\x1b[?25h\x1b[?1049l'));
  assert.deepEqual(
    ['SIGINT', 'SIGTERM', 'SIGTSTP', 'SIGCONT'].map((signal) => process.listenerCount(signal)),
    [0, 0, 0, 0],
  );
});
