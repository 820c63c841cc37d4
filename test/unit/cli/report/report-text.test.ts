import assert from 'node:assert/strict';
import { test } from 'node:test';
import { displayWidth } from '../../../../src/cli/screen.ts';
import { reportText, stripText } from '../../../../src/cli/report/report-text.ts';
import { makeReport } from '../../../../src/status/report.ts';
import { painter } from '../../../../src/util/colour.ts';
import { aReport, hostileText } from '../../../support/a-report.ts';
import { aUse } from '../../../support/layer-use.ts';

test('reportText shows what each layer did', () => {
  const report = makeReport({ sinceMs: 1_700_000_000_000, uses: [aUse()] }, [], 10);
  assert.equal(
    reportText(report, 80),
    `Since 2023-11-14 22:13:20 UTC: fetched 21.0 kB of 40.0 kB, 47 % saved; readers
  waited 851 ms in 7 reads, 200 ms at most

registry.example/app:1
2023-11-14 22:13:20 UTC, in use: fetched 21.0 kB of 40.0 kB, 47 % saved; readers
  waited 851 ms in 7 reads, 200 ms at most
LAYER         SIZE     READ     FETCHED  WAITED  HOW   WHAT
a1a1a1a1a1a1  40.0 kB  10.0 kB  21.0 kB  851 ms  lazy  -+##-----.........

WHAT: # read, + read in part, - fetched and not read, . not fetched
`,
  );
});

for (const columns of [40, 80, 100, 120]) {
  test(`reportText fits ${columns} columns, whatever the names are, but for words that are longer`, () => {
    const lines = reportText(aReport(), columns).split('\n');
    const wide = lines.filter((line) => displayWidth(line) > Math.max(columns, 79));
    assert.deepEqual(wide, []);
  });
}

test('reportText gives a terminal nothing to obey but its own colours', () => {
  const text = reportText(aReport(), 80, painter({ isTTY: true }, {}));
  assert.ok(text.includes('\u001b[31mNOT LAZY'));
  assert.ok(!text.includes('\u001b]') && !text.includes('\u202e'));
  assert.ok(!text.includes(hostileText));
});

test('reportText says that nothing was asked for', () => {
  const report = makeReport({ sinceMs: 1_700_000_000_000, uses: [] }, [], 10);
  assert.equal(reportText(report, 80), 'No client asked for a layer since 2023-11-14 22:13:20 UTC\n');
});

test('stripText has as many characters as columns, more or less than there are cells', () => {
  const { strip } = aUse();
  for (const columns of [1, 8, 96, 200]) assert.equal(stripText(strip, 0, columns).length, columns);
  assert.equal(stripText(undefined, 0.5, 4), '--..');
});
