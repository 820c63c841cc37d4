import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  appendPlatform,
  type LayerResult,
  makeIndexes,
  type MakeOptions,
  resultText,
} from '../../../src/cli/layer-index/make.ts';
import type { Environment } from '../../../src/cli/environment.ts';
import { UsageError } from '../../../src/cli/usage-error.ts';
import { parseReference } from '../../../src/registry/reference.ts';

const digest = (name: string): string => `sha256:${name.repeat(64)}`;

test('resultText has a line for each layer: its size, that of its index, and what became of it', () => {
  const results: LayerResult[] = [
    { layer: digest('a'), bytes: 100_000_000, state: 'made', indexBytes: 1_500_000 },
    { layer: digest('b'), bytes: 2000, state: 'there' },
    { layer: digest('c'), bytes: 3000, state: 'lazy' },
    { layer: digest('d'), bytes: 4000, state: 'failed', problem: 'No index can be made: it is zstd' },
  ];
  assert.deepEqual(
    resultText(results)
      .trimEnd()
      .split('\n')
      .map((line) => line.trimEnd().split(/ {2,}/)),
    [
      ['LAYER', 'SIZE', 'INDEX'],
      ['aaaaaaaaaaaa', '100.0 MB', '1.5 MB (1.5 %)', 'made'],
      ['bbbbbbbbbbbb', '2.0 kB', '-', 'was there already'],
      ['cccccccccccc', '3.0 kB', '-', 'needs none: it is eStargz'],
      ['dddddddddddd', '4.0 kB', '-', 'No index can be made: it is zstd'],
    ],
  );
});

test('makeIndexes refuses destinations that exclude each other, before it asks a registry', async () => {
  const environment: Environment = { env: {}, name: 'lazypull', self: [] };
  const reference = parseReference('registry.invalid/a:1');
  const cases: [MakeOptions, RegExp][] = [
    [{ push: true, attach: true }, /Cannot use --push and --attach together/],
    [{ attach: true, output: 'file' }, /Cannot use --attach and --output together/],
    [{ repository: 'registry.invalid/indexes' }, /Cannot use --repository without --push/],
    [{ push: true, repository: 'registry.invalid/indexes:tag' }, /it has a tag or a digest/],
  ];
  for (const [options, message] of cases) {
    const error = await makeIndexes(reference, options, environment).catch((thrown: unknown) => thrown);
    assert.ok(error instanceof UsageError, String(error));
    assert.match(error.message, message);
  }
});

test('appendPlatform collects the platforms of several options', () => {
  const platforms = appendPlatform('linux/arm64', appendPlatform('linux/amd64'));
  assert.deepEqual(
    platforms.map(({ architecture }) => architecture),
    ['amd64', 'arm64'],
  );
});
