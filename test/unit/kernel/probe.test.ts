import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { lacksOf, type Machine } from '../../../src/kernel/probe.ts';

describe('lacksOf', () => {
  const complete: Machine = {
    uid: 0,
    isRealUser: true,
    mayMount: true,
    fuseError: undefined,
    fileSystems: new Set(['ext4', 'fuse', 'erofs', 'overlay']),
    modules: new Map(),
    release: '6.12.9-cloud',
  };
  const lacks = (machine: Partial<Machine>) => lacksOf({ ...complete, ...machine });
  const advice = (machine: Partial<Machine>) =>
    lacks(machine)
      .map((lack) => lack.advice)
      .join('\n');

  it('is empty for a machine that has it all', () => assert.deepEqual(lacksOf(complete), []));

  it('says only which user should run it if this one cannot mount', () => {
    const bare = { fuseError: 'ENOENT', fileSystems: new Set<string>() };
    for (const user of [{ uid: 1000 }, { isRealUser: false }, { mayMount: false }]) {
      const found = lacks({ ...bare, ...user });
      assert.deepEqual(
        found.map(({ name }) => name),
        ['user'],
      );
      assert.doesNotMatch(found[0]!.advice, /modprobe/);
    }
    assert.match(advice({ uid: 1000 }), /sudo/);
    assert.match(lacks({ isRealUser: false })[0]!.text, /root of a user namespace/);
    assert.match(advice({ mayMount: false }), /--privileged/);
  });

  it('names each thing with what to do', () => {
    const found = lacks({ fileSystems: new Set(['fuse']) });
    assert.deepEqual(
      found.map(({ name }) => name),
      ['erofs', 'overlay'],
    );
    assert.match(found[0]!.advice, /^run "modprobe erofs" on the machine itself/);
  });

  it('tells a module that is not installed from one that may not be loaded from here', () => {
    const without = { fileSystems: new Set(['fuse', 'overlay']) };
    assert.match(
      advice({ ...without, modules: new Map([['erofs', 'missing']]) }),
      /linux-modules-extra-6\.12\.9-cloud/,
    );
    assert.match(advice({ ...without, modules: new Map([['erofs', 'refused']]) }), /on the machine itself/);
  });

  it('tells a /dev/fuse that is not there from one that a container may not open', () => {
    const absent = { fuseError: 'ENOENT', fileSystems: new Set(['erofs', 'overlay', 'fuse']) };
    assert.match(advice(absent), /--device \/dev\/fuse/);
    assert.doesNotMatch(advice({ fuseError: 'EPERM' }), /modprobe/);
    const noModule = lacks({ fuseError: 'ENOENT', fileSystems: new Set(['erofs', 'overlay']) });
    assert.match(noModule[0]!.advice, /modprobe fuse.*--device/);
  });
});
