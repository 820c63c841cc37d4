import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkKernel, checkMachine, checkSettings, checkZlib } from '../../../src/doctor/check-machine.ts';
import { checkSpace } from '../../../src/doctor/check-root.ts';
import type { Machine } from '../../../src/kernel/probe.ts';

const machine: Machine = {
  uid: 0,
  isRealUser: true,
  mayMount: true,
  fuseError: undefined,
  fileSystems: new Set(['fuse', 'erofs', 'overlay']),
  modules: new Map(),
  release: '6.12.9',
};

describe('checkMachine', () => {
  it('tells who is not root that, and nothing else', () => {
    const findings = checkMachine({ ...machine, uid: 1000, fuseError: 'EACCES', fileSystems: new Set() });
    assert.deepEqual(
      findings.map(({ name, state }) => [name, state]),
      [['user', 'wrong']],
    );
    assert.doesNotMatch(JSON.stringify(findings), /modprobe/);
  });

  it('lists what is right beside what is not', () => {
    const states = new Map(checkMachine({ ...machine, fuseError: 'EPERM' }).map(({ name, state }) => [name, state]));
    assert.equal(states.get('user'), 'right');
    assert.equal(states.get('/dev/fuse'), 'wrong');
    assert.equal(states.get('kernel'), 'right');
  });
});

describe('checkKernel', () => {
  it('says what an older kernel does worse', () => {
    const state = (release: string) => checkKernel(release).state;
    assert.deepEqual(['6.12.0', '7.0', '6.9.3-generic', '6.8.0-101', '5.15.0'].map(state), [
      'right',
      'right',
      'right',
      'warning',
      'warning',
    ]);
    assert.match(checkKernel('6.9.3').text, /loop devices/);
    assert.doesNotMatch(checkKernel('6.18.44-fc').text, /loop/);
  });
});

describe('checkSettings', () => {
  const names = (files: Record<string, string>) => checkSettings((path) => files[path]).map(({ name }) => name);
  const mounts = (count: number) => 'a line\n'.repeat(count);

  it('warns of a time-out that ends the FUSE connection while a reader waits', () => {
    assert.deepEqual(names({ '/proc/sys/fs/fuse/default_request_timeout': '30\n' }), [
      'fs.fuse.default_request_timeout',
    ]);
    assert.deepEqual(names({ '/proc/sys/fs/fuse/max_request_timeout': '5' }), ['fs.fuse.max_request_timeout']);
    assert.deepEqual(names({ '/proc/sys/fs/fuse/default_request_timeout': '0\n' }), []);
    assert.deepEqual(names({}), []);
  });

  it('warns if few mounts are left', () => {
    const most = { '/proc/sys/fs/mount-max': '2500\n' };
    assert.deepEqual(names({ ...most, '/proc/self/mountinfo': mounts(600) }), ['fs.mount-max']);
    assert.deepEqual(names({ ...most, '/proc/self/mountinfo': mounts(400) }), []);
  });
});

describe('checkSpace', () => {
  const disk = { type: 0, bsize: 4096, blocks: 1e9, bfree: 1e9, bavail: 1e9, files: 1e6, ffree: 1e6 };
  const space = (change: Partial<typeof disk>) =>
    checkSpace('/root', '/', (() => Promise.resolve({ ...disk, ...change })) as never);

  it('refuses a file system that is nearly full, of bytes or of inodes', async () => {
    assert.match(await space({}), /^4096\.0 GB are free for "\/root"$/);
    await assert.rejects(space({ bavail: 1000 }), /only 0\.0 GB are free/);
    await assert.rejects(space({ ffree: 5 }), /only 5 inodes are free/);
    assert.match(await space({ files: 0, ffree: 0 }), /are free/, 'as of Btrfs, which has no fixed number of them');
  });
});

describe('checkZlib', () => {
  it('warns if no index can be made', () => {
    assert.deepEqual(checkZlib({ origin: 'node', version: '1.3.1' }), {
      name: 'zlib',
      state: 'right',
      text: '1.3.1 of Node',
      advice: '',
    });
    assert.match(checkZlib({ origin: 'libz.so.1', version: '1.2.13' }).text, /1\.2\.13 of libz/);
    assert.equal(checkZlib(undefined).state, 'warning');
  });
});
