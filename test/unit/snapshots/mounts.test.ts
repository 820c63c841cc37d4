import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mountsOf } from '../../../src/snapshots/mounts.ts';

describe('mounts', () => {
  it('are one bind mount without parents', () => {
    assert.deepEqual(mountsOf('/s', { id: 1, kind: 'active', parents: [] }), [
      { type: 'bind', source: '/s/1/fs', options: ['rw', 'rbind'] },
    ]);
    assert.deepEqual(mountsOf('/s', { id: 1, kind: 'view', parents: [] }), [
      { type: 'bind', source: '/s/1/fs', options: ['ro', 'rbind'] },
    ]);
  });

  it('are the parent itself for a view of one', () => {
    assert.deepEqual(mountsOf('/s', { id: 2, kind: 'view', parents: [1] }), [
      { type: 'bind', source: '/s/1/fs', options: ['ro', 'rbind'] },
    ]);
  });

  it('are one overlay with only the options that BuildKit knows, nearest parent first', () => {
    assert.deepEqual(mountsOf('/s', { id: 3, kind: 'active', parents: [1] }), [
      { type: 'overlay', source: 'overlay', options: ['workdir=/s/3/work', 'upperdir=/s/3/fs', 'lowerdir=/s/1/fs'] },
    ]);
    assert.deepEqual(mountsOf('/s', { id: 3, kind: 'view', parents: [2, 1] }, ['userxattr']), [
      { type: 'overlay', source: 'overlay', options: ['lowerdir=/s/2/fs:/s/1/fs', 'userxattr'] },
    ]);
  });
});
