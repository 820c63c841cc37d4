import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { hasLostWrites } from '../../../src/kernel/writeback.ts';

test('hasLostWrites() is false for a file that lost nothing, and if the kernel does not tell', () => {
  for (const path of [import.meta.filename, '/dev/null']) {
    const fd = openSync(path, 'r');
    assert.equal(hasLostWrites(fd), false, path);
    closeSync(fd);
  }
  assert.equal(hasLostWrites(-1), true, 'a descriptor that is none has nothing');
});
