import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { errnoOf } from '../../../src/errors.ts';
import { LogOutput } from '../../../src/kernel/log-output.ts';
import { until } from '../../support/until.ts';

const lost = (count: number) => `lost ${count}\n`;
const line = (i: number) => `${String(i).padStart(5, '0')} ${'x'.repeat(1017)}\n`;
const lineBytes = line(0).length;
const rounds = 3000;

describe('the output of the log', () => {
  it('goes on where it was when the pipe is read again, and says how many lines were lost', async (t) => {
    const { reader, writer } = pipe(t);
    using output = new LogOutput(writer, lost);
    for (let i = 0; i < rounds; i++) output.write(line(i));
    let text = '';
    const isToldOfLost = (): boolean => (text += readAll(reader)).includes('lost');
    await until(isToldOfLost, () => `it gave ${text.length} bytes`);
    const lines = text.trimEnd().split('\n');
    const kept = lines.length - 1;
    assert.ok(kept * lineBytes > (1 << 20) - lineBytes && kept < rounds, `${kept} lines were kept`);
    assert.deepEqual(
      lines.slice(0, kept),
      Array.from({ length: kept }, (_, i) => line(i).trimEnd()),
    );
    assert.equal(lines.at(-1), `lost ${rounds - kept}`);
    output.write('after\n');
    assert.equal(readAll(reader), 'after\n');
  });

  it('writes to a pipe that has room at once, in order, lines longer than the pipe too', (t) => {
    const { reader, writer } = pipe(t);
    using output = new LogOutput(writer, lost);
    output.write('first\n');
    output.write('ä second\n');
    assert.equal(readAll(reader), 'first\nä second\n');
    const long = `${'y'.repeat(100_000)}\n`;
    output.write(long);
    output.write('third\n');
    const part = readAll(reader);
    output.write('fourth\n');
    assert.equal(part + readAll(reader), `${long}third\nfourth\n`);
  });

  it('leaves the pipe as it is for others', (t) => {
    const { writer } = pipe(t);
    using _output = new LogOutput(writer, lost);
    const flags = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${writer}`, 'utf8'))?.[1];
    assert.equal(Number.parseInt(flags ?? '', 8) & constants.O_NONBLOCK, 0);
  });

  it('throws nothing if nothing can be written', (t) => {
    const { reader, writer } = pipe(t);
    using output = new LogOutput(writer, lost);
    closeSync(reader.take());
    using late = new LogOutput(writer, lost); // the pipe has no reader from the start
    const full = openSync('/dev/full', 'w');
    t.after(() => closeSync(full));
    using disk = new LogOutput(full, lost);
    const readOnly = openSync('/dev/null', 'r');
    using wrong = new LogOutput(readOnly, lost);
    closeSync(readOnly);
    for (let i = 0; i < rounds; i++) for (const each of [output, late, disk, wrong]) each.write(line(i));
  });
});

describe('the log of a process', () => {
  it('keeps nothing from ending when nobody reads it', async () => {
    const log = fileURLToPath(new URL('../../../src/process-log.ts', import.meta.url));
    const script = `
      const { createLog } = await import(${JSON.stringify(log)});
      const log = createLog('info');
      for (let i = 0; i < 3000; i++) log.error({ fill: 'x'.repeat(1000), error: new Error('e') }, 'm');
      process.send('done');
      process.disconnect();`;
    // Its standard error is a socket, as that of a service of systemd is.
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    child.stderr?.pause();
    const message = once(child, 'message');
    const exit = once(child, 'exit');
    assert.equal((await message)[0], 'done');
    assert.equal((await exit)[0], 0);
    child.stderr?.destroy();
  });
});

function pipe(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'log-output-'));
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = { fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK), take: () => 0 };
  let isOpen = true;
  reader.take = () => {
    isOpen = false;
    return reader.fd;
  };
  const writer = openSync(path, 'w');
  t.after(() => {
    if (isOpen) closeSync(reader.fd);
    closeSync(writer);
    rmSync(directory, { recursive: true });
  });
  return { reader, writer };
}

/** What is in the pipe now. */
function readAll({ fd }: { fd: number }): string {
  const parts: Buffer[] = [];
  const buffer = Buffer.alloc(1 << 16);
  try {
    for (let bytes = readSync(fd, buffer); bytes > 0; bytes = readSync(fd, buffer)) {
      parts.push(Buffer.from(buffer.subarray(0, bytes)));
    }
  } catch (error) {
    if (errnoOf(error) !== 'EAGAIN') throw error;
  }
  return Buffer.concat(parts).toString();
}
