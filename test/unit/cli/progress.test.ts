import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { describe, it, type TestContext } from 'node:test';
import type { WriteStream } from 'node:tty';
import { ConvertProgress, progressLine } from '../../../src/cli/convert-progress.ts';
import { timeText } from '../../../src/cli/live-lines.ts';
import { PullProgress, pullLine } from '../../../src/cli/pull-progress.ts';
import type { LayerEvent } from '../../../src/convert/layer-converter.ts';

const digest = `sha256:${'ab'.repeat(32)}`;
const reading: LayerEvent = { digest, size: 200_000_000, state: 'reading', bytes: 80_000_000, total: 200_000_000 };

/** A stream that may be a terminal, and what is written to it. */
function stream(isTTY: boolean): { stream: WriteStream; written: () => string } {
  let text = '';
  const through = new PassThrough();
  through.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return {
    stream: Object.assign(through, { isTTY, columns: 80, rows: 24 }) as unknown as WriteStream,
    written: () => text,
  };
}

function fakeTimers(t: TestContext): () => void {
  t.mock.timers.enable({ apis: ['setInterval'] });
  return () => t.mock.timers.tick(100);
}

describe('the progress of a conversion', () => {
  it('has a bar, a rate and the time left for each layer, as much as fits', () => {
    assert.equal(
      progressLine(reading, 1_500_000, 79),
      'abababababab [####......]  40% of 200.0 MB  1.5 MB/s  1m 20s left',
    );
    const pushing = { ...reading, state: 'pushing', bytes: 99_900_000, total: 100_000_000 } as const;
    assert.equal(
      progressLine(pushing, 999_900_000, 79),
      'abababababab [#########.]  99% of 100.0 MB  999.9 MB/s  1s left  pushing',
    );
    assert.equal(progressLine(reading, 1_500_000, 50), 'abababababab [####......]  40% of 200.0 MB');
    assert.equal(progressLine({ ...reading, bytes: 0 }, 0, 79), 'abababababab [..........]   0% of 200.0 MB  0 B/s');
    assert.match(progressLine({ ...reading, bytes: 0, total: 0 }, 0, 79), /100% of 0 B/);
  });

  it('is drawn over itself below what is done, and leaves that only', (t) => {
    const tick = fakeTimers(t);
    const { stream: terminal, written } = stream(true);
    {
      using progress = new ConvertProgress(terminal, {});
      progress.onLayer({ ...reading, bytes: 0 });
      progress.onLayer({ ...reading, digest: `sha256:${'cd'.repeat(32)}` });
      tick();
      assert.match(written(), /^abababababab \[\.{10}\] .*\ncdcdcdcdcdcd \[#{4}\.{6}\] .*\n$/);
      progress.onLayer({ ...reading, state: 'done', bytes: 150_000_000 });
      // oxlint-disable-next-line no-control-regex
      assert.match(written(), /\x1b\[2A\x1b\[Jabababababab 200\.0 MB -> 150\.0 MB\n$/);
      tick();
    }
    assert.ok(written().endsWith('\x1b[1A\x1b[J'));
  });

  it('has a line for each layer that is done in a pipe, and nothing else', (t) => {
    const tick = fakeTimers(t);
    const { stream: pipe, written } = stream(false);
    {
      using progress = new ConvertProgress(pipe, {});
      progress.onLayer(reading);
      tick();
      progress.onLayer({ ...reading, state: 'done', bytes: 150_000_000 });
      progress.onLayer({ ...reading, state: 'done', bytes: 150_000_000 });
    }
    assert.equal(written(), 'abababababab 200.0 MB -> 150.0 MB\n');
  });
});

describe('the progress of a pull', () => {
  it('has a bar of layers, how fast they come, and the time left', () => {
    assert.equal(pullLine(3, 6, 2000), '[##########..........] 3 of 6 layers  1.5 layers/s  2s left');
    assert.equal(pullLine(0, 6, 2000), '[....................] 0 of 6 layers');
    assert.equal(pullLine(1, 1, 1000), '[####################] 1 of 1 layer  1.0 layers/s  0s left');
  });

  it('says of each layer what it is, and in the end that none was downloaded', (t) => {
    const tick = fakeTimers(t);
    const { stream: terminal, written } = stream(true);
    {
      using progress = new PullProgress(terminal, {}, [{ digest, size: 45_200_000, hasToc: true }], 'lazypull');
      progress.onStart(digest);
      tick();
      assert.match(written(), / 0 of 1 layer\nabababababab 45\.2 MB: its table of contents is read\n$/);
      progress.onDone(digest, 'is lazy');
      progress.finish();
    }
    assert.match(
      written(),
      /lazypull: abababababab 45\.2 MB is lazy\nlazypull: 1 layer of 45\.2 MB can be used after \d\.\d s, and none was downloaded\n$/,
    );
  });

  it('does not say of layers without a table of contents that none was downloaded', (t) => {
    const tick = fakeTimers(t);
    const { stream: terminal, written } = stream(true);
    const other = digest.replaceAll('ab', 'cd');
    using progress = new PullProgress(
      terminal,
      {},
      [
        { digest, size: 45_200_000, hasToc: true },
        { digest: other, size: 1_000_000, hasToc: false },
      ],
      'lazypull',
    );
    progress.onStart(other);
    tick();
    assert.match(written(), /cdcdcdcdcdcd 1\.0 MB: its index is read, or it is pulled\n$/);
    progress.finish();
    assert.match(written(), /can be used after \d\.\d s: "lazypull why" says which of them the daemon had to pull\n$/);
  });
});

describe('timeText', () => {
  it('is short, and empty if it cannot be told', () => {
    assert.deepEqual([0, 0.2, 59, 61, 3599, 3600, 7380].map(timeText), [
      '0s',
      '1s',
      '59s',
      '1m 1s',
      '59m 59s',
      '1h 0m',
      '2h 3m',
    ]);
    assert.deepEqual([Infinity, NaN, 1e9].map(timeText), ['', '', '']);
  });
});
