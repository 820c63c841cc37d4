import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ownBuildkitd } from '../../../src/buildkit/managed-buildkitd.ts';
import { ownPlaces } from '../../../src/buildkit/places.ts';

const places = ownPlaces({ LAZYPULL_HOME: '/h' });

test('ownBuildkitd sets everything without flags, apart from others on the machine', () => {
  const { args, address } = ownBuildkitd([], places);
  assert.equal(address, 'unix:///h/run/lazypull/buildkitd.sock');
  assert.deepEqual(args, [
    '--addr=unix:///h/run/lazypull/buildkitd.sock',
    '--root=/h/buildkitd',
    '--containerd-worker=false',
    '--oci-worker=true',
    '--oci-worker-snapshotter=stargz',
    '--oci-worker-proxy-snapshotter-path=/h/run/lazypull-buildkitd/snapshotter.sock',
  ]);
});

test('ownBuildkitd uses a containerd of its own for the containerd worker alone', () => {
  const { args } = ownBuildkitd(['--containerd-worker=true', '--debug'], places);
  assert.deepEqual(args, [
    '--containerd-worker=true',
    '--debug',
    '--addr=unix:///h/run/lazypull/buildkitd.sock',
    '--root=/h/buildkitd',
    '--containerd-worker-addr=/h/run/lazypull-buildkitd/containerd.sock',
    '--containerd-worker-snapshotter=stargz',
    '--oci-worker=false',
  ]);
  const both = ownBuildkitd(['--containerd-worker=true', '--oci-worker=true'], places).args;
  assert.ok(
    both.includes('--oci-worker-snapshotter=stargz') && both.includes('--containerd-worker-snapshotter=stargz'),
  );
});

test("ownBuildkitd keeps the user's flags, except for another snapshotter", () => {
  const chosen = ['--addr', 'tcp://127.0.0.1:1', '--oci-worker-proxy-snapshotter-path=/x.sock', '-root=/r'];
  const { args, address } = ownBuildkitd(chosen, places);
  assert.equal(address, 'tcp://127.0.0.1:1');
  assert.equal(args.filter((arg) => /addr|root|proxy/.test(arg)).length, 3);
  assert.throws(() => ownBuildkitd(['--oci-worker-snapshotter=overlayfs'], places), {
    code: 'InvalidArgument',
    message: /--oci-worker-snapshotter=overlayfs: .* leave the flag out/,
  });
  for (const flags of [
    ['--addr'],
    ['--addr', '--root=/r'],
    ['-root'],
    ['--oci-worker-proxy-snapshotter-path', '--debug'],
  ]) {
    assert.throws(() => ownBuildkitd(flags, places), {
      code: 'InvalidArgument',
      message: /^Cannot run buildkitd with --\S+ and no value/,
    });
  }
});
