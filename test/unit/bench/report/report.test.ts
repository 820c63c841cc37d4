import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatMarkdown } from '../../../../bench/report/markdown.ts';
import { formatPicture } from '../../../../bench/report/picture.ts';
import { formatSeconds, median } from '../../../../bench/report/statistics.ts';
import { ratio, summarize } from '../../../../bench/report/summary.ts';
import type { Measurement, Results } from '../../../../bench/results.ts';

function measurement(work: string, subject: Measurement['subject'], run: number, seconds: number): Measurement {
  return {
    work,
    link: '20ms/1gbit',
    subject,
    run,
    seconds,
    connections: 1,
    requests: 10 * run,
    bytes: 1e6,
    snapshotterRequests: 0,
    snapshotterBytes: 0,
    snapshotterCpuSeconds: 0,
    snapshotterPeakBytes: 0,
    busyBefore: 0,
  };
}

const results: Results = {
  format: 1,
  date: '2026-01-02T03:04:05.678Z',
  complete: true,
  runs: 3,
  backgroundFill: true,
  machine: {
    processor: 'Some CPU <1>',
    cores: 2,
    memoryBytes: 8 * 2 ** 30,
    kernel: 'Linux 6',
    system: 'Debian',
    fileSystem: 'ext4',
    versions: { lazypull: '1' },
  },
  image: { name: 'base', bytes: 2e8, layers: 1 },
  works: [
    { id: 'a', title: '`RUN this`' },
    { id: 'c', title: 'tar | export' },
  ],
  subjects: [
    { id: 'full', title: 'full pull', explanation: 'pulls' },
    { id: 'lazypull', title: 'lazypull', explanation: 'does not' },
  ],
  links: [
    {
      name: '20ms/1gbit',
      roundTripMs: 20,
      megabitsPerSecond: 1000,
      measuredRoundTripMs: 21,
      measuredMegabitsPerSecond: 950,
    },
  ],
  measurements: [1, 2, 3].flatMap((run) => [
    measurement('a', 'full', run, 10),
    measurement('c', 'full', run, 10),
    measurement('a', 'lazypull', run, run),
    measurement('c', 'lazypull', run, 10 - 2 * run),
  ]),
  failures: [],
};

describe('The report', () => {
  test('has the medians, least and most of the runs', () => {
    const [row] = summarize(results);
    assert.deepEqual(row?.figures.lazypull, {
      seconds: 2,
      least: 1,
      most: 3,
      requests: 20,
      connections: 1,
      bytes: 1e6,
      runs: 3,
    });
    assert.equal(row === undefined ? undefined : ratio(row, 'lazypull', 'full'), 0.2);
  });

  test('adds the works of one run before it takes the median', () => {
    const row = summarize(results).find(({ work }) => work === 'a+c');
    assert.equal(row?.figures.lazypull?.seconds, 8);
    assert.equal(row?.figures.full?.seconds, 20);
  });

  test('leaves a ratio out if a subject was not measured', () => {
    const [row] = summarize(results);
    assert.equal(row === undefined ? 0 : ratio(row, 'lazypull', 'stargz'), undefined);
  });

  test('states machine, versions, date and ratios in Markdown', () => {
    const text = formatMarkdown(results, 'x.svg');
    for (const part of ['2026-01-02', 'Some CPU', 'lazypull 1', 'Linux 6', 'medians of 3 runs', '![', '(x.svg)'])
      assert.ok(text.includes(part), part);
    assert.match(text, /\| \(a\) `RUN this` \| 20 ms, 1 Gbit\/s \| 10\.0 \| 2\.00 \| \*\*0\.20\*\* \|/);
    assert.match(text, /tar \\\| export/);
  });

  test('says in Markdown what is wrong with it', () => {
    const failure = { works: ['a'], link: '0ms', subject: 'full', run: 2, reason: 'broken\nindeed' } as const;
    const text = formatMarkdown(
      {
        ...results,
        complete: false,
        failures: [failure],
        measurements: results.measurements.map((one) => ({ ...one, busyBefore: 0.5 })),
      },
      'x.svg',
    );
    assert.match(text, /was ended before/);
    assert.match(text, /1 measurement failed:\*\*\n\n- a, 0ms, full, run 2: broken$/m);
    assert.match(text, /busy with other things\*\*: 50 %/);
  });

  test('draws a bar for each figure', () => {
    const svg = formatPicture(results);
    const bars = svg.match(/height="14"/g);
    assert.equal(bars?.length, 6);
    assert.ok(!svg.includes('`'));
    assert.ok(svg.includes('Some CPU &lt;1&gt;'));
  });
});

describe('The statistics', () => {
  test('take the value in the middle', () => {
    assert.equal(median([3, 1, 2]), 2);
    assert.equal(median([4, 1, 2, 3]), 2.5);
    assert.ok(Number.isNaN(median([])));
  });

  test('show three digits', () => {
    assert.deepEqual([0.0421, 0.42, 4.2, 42].map(formatSeconds), ['0.042', '0.42', '4.20', '42.0']);
  });
});
