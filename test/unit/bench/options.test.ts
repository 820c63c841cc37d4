import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { describeLink, parseLink } from '../../../bench/link.ts';
import { parseOptions } from '../../../bench/options.ts';

describe('The options of the benchmark', () => {
  test('choose everything by default, five times', () => {
    const { runs, works, links, subjects, backgroundFill } = parseOptions([]);
    assert.equal(runs, 5);
    assert.deepEqual(works, ['a', 'c', 'b', 'd', 'e', 'f', 'g', 'h']);
    assert.deepEqual(
      links.map(({ name }) => name),
      ['0ms', '20ms/1gbit', '80ms/1gbit', '20ms/100mbit', '80ms/100mbit'],
    );
    assert.deepEqual(subjects, [
      'full',
      'lazypull',
      'lazypull-trace',
      'lazypull-warm',
      'lazypull-index',
      'lazypull-team',
      'stargz',
    ]);
    assert.equal(backgroundFill, true);
  });

  test('choose little with --quick, unless others say more', () => {
    const { runs, works, links } = parseOptions(['--quick', '--runs', '2']);
    assert.equal(runs, 2);
    assert.deepEqual(works, ['a', 'c']);
    assert.deepEqual(links.map(describeLink), ['loopback', '20 ms, 1 Gbit/s']);
  });

  test('keep the order in which things are measured', () => {
    assert.deepEqual(parseOptions(['--subjects', 'stargz,full']).subjects, ['full', 'stargz']);
  });

  for (const wrong of [['--runs', '0'], ['--works', 'z'], ['--links', '20'], ['--subjects', 'x'], ['--nothing']]) {
    test(`refuse ${wrong.join(' ')}`, () => assert.throws(() => parseOptions(wrong)));
  }
});

describe('A link', () => {
  test('is read from its name', () => {
    assert.deepEqual(parseLink('80ms/100mbit'), { name: '80ms/100mbit', roundTripMs: 80, megabitsPerSecond: 100 });
    assert.equal(parseLink('5ms/2gbit').megabitsPerSecond, 2000);
    assert.equal(parseLink('0ms').megabitsPerSecond, Infinity);
  });

  for (const wrong of ['', '20', 'ms', '20ms/', '20ms/0mbit', '20ms/1kbit', '100000ms', '-1ms']) {
    test(`is not read from "${wrong}"`, () => assert.throws(() => parseLink(wrong), /Cannot read the link/));
  }
});
