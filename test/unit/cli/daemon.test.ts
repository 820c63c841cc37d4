import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { withTwoDashes } from '../../../src/cli/daemon.ts';

describe('withTwoDashes', () => {
  it("turns Go's single dash into two", () => {
    assert.deepEqual(withTwoDashes(['-address=/a', '-root', '/r', '-log-level', 'debug', '-version']), [
      '--address=/a',
      '--root',
      '/r',
      '--log-level',
      'debug',
      '--version',
    ]);
  });

  it('leaves two dashes, values and unknown flags alone', () => {
    const args = ['--address', '-root', '--config=-config', '-x', 'y', '-unknown=1'];
    assert.deepEqual(withTwoDashes(args), args);
  });

  it('accepts a flag without its value, which is refused later', () => {
    assert.deepEqual(withTwoDashes(['-root']), ['--root']);
  });
});
