import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conclusion, formatTable, type Measurement } from '../../../sample/table.ts';

const build = (way: Measurement['way'], title: string, seconds: number, bytes: number): Measurement => ({
  way,
  title,
  seconds,
  requests: 1234,
  bytes,
  lazypullRequests: way === 'lazy' ? 1200 : 0,
});
const measurements = [
  build('lazy', 'build', 3.21, 12_345_678),
  build('lazy', 'tar export', 1040, 800_000_000),
  build('full pull', 'build', 41, 816_000_000),
  build('full pull', 'tar export', 1005.5, 0),
];

test('formatTable has the total of each way, and fits 80 columns', () => {
  const lines = formatTable(measurements, 816_000_000).split('\n');
  assert.ok(lines.every((line) => line.length <= 80));
  assert.deepEqual(
    lines.map((line) => line.split(/  +/)),
    [
      ['', 'seconds', 'requests', 'by lazypull', 'fetched', 'of the image'],
      ['lazy: build', '3.2', '1234', '1200', '12.3 MB', '1.5 %'],
      ['lazy: tar export', '1040.0', '1234', '1200', '800.0 MB', '98.0 %'],
      ['lazy: total', '1043.2', '2468', '2400', '812.3 MB', '99.6 %'],
      ['full pull: build', '41.0', '1234', '0', '816.0 MB', '100.0 %'],
      ['full pull: tar export', '1005.5', '1234', '0', '0.0 MB', '0.0 %'],
      ['full pull: total', '1046.5', '2468', '0', '816.0 MB', '100.0 %'],
    ],
  );
});

test('conclusion is one sentence', () => {
  const text = conclusion(measurements, 816_000_000);
  assert.ok(text.split('\n').every((line) => line.length <= 80));
  assert.equal(
    text.replaceAll('\n', ' '),
    'Lazy, the build took 3.2 s in place of 41.0 s and fetched 1.5 % of the image of 816.0 MB, and with an export of everything after it 1043.2 s in place of 1046.5 s.',
  );
});

test('formatTable has three ways for an unmodified image, and says what the first and the second time took', () => {
  const three = [
    build('first time', 'build', 9, 348_000_000),
    build('first time', 'tar export', 10, 0),
    build('second time', 'build', 1.5, 12_000_000),
    build('second time', 'tar export', 1040, 800_000_000),
    build('full pull', 'build', 20, 348_000_000),
    build('full pull', 'tar export', 10, 0),
  ];
  assert.ok(
    formatTable(three, 816_000_000)
      .split('\n')
      .every((line) => line.length <= 80),
  );
  assert.equal(
    conclusion(three, 348_000_000).replaceAll('\n', ' '),
    'The first build on the unmodified image took 9.0 s in place of 20.0 s of a stock pull. With the layer indexes that it made, and nothing else of the image, the next one took 1.5 s and fetched 3.4 % of the image of 348.0 MB.',
  );
});
