import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Machine, missingFrom } from '../../../src/kernel/probe.ts';

describe('missingFrom', () => {
  const complete: Machine = { uid: 0, fuseDevice: true, fileSystems: new Set(['ext4', 'fuse', 'erofs', 'overlay']) };

  it('is empty for a machine that has it all', () => assert.deepEqual(missingFrom(complete), []));

  it('names each thing with what to do', () => {
    assert.match(missingFrom({ ...complete, uid: 1000 }).join(), /root.*sudo/);
    assert.match(missingFrom({ ...complete, fuseDevice: false }).join(), /\/dev\/fuse.*modprobe fuse/);
    const bare = missingFrom({ ...complete, fileSystems: new Set(['fuse']) });
    assert.equal(bare.length, 2);
    assert.match(bare.join(), /erofs.*overlay/);
  });
});
