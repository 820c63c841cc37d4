import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { planBuildkit } from '../../../src/buildkit/flags.ts';

const plan = (...args: string[]) => planBuildkit(args, '/default.sock');

describe('planBuildkit', () => {
  it('translates the old proxy flag in every form, without the scheme', () => {
    for (const form of [
      ['--oci-worker-proxy-snapshotter-address=/a.sock'],
      ['--oci-worker-proxy-snapshotter-address=unix:///a.sock'],
      ['--oci-worker-proxy-snapshotter-address', '/a.sock'],
      ['--oci-worker-proxy-snapshotter-address', 'unix:///a.sock'],
      ['-oci-worker-proxy-snapshotter-address=/a.sock'],
      ['--oci-worker-proxy-snapshotter-path=unix:///a.sock'],
      ['--oci-worker-proxy-snapshotter-path', '/a.sock'],
    ]) {
      const { args, snapshotterAddress } = plan('--debug', ...form, '--root', '/r');
      assert.deepEqual(args, ['--debug', '--oci-worker-proxy-snapshotter-path=/a.sock', '--root', '/r']);
      assert.equal(snapshotterAddress, '/a.sock');
    }
  });

  it('leaves a flag without its value to buildkitd', () => {
    assert.deepEqual(plan('--oci-worker-proxy-snapshotter-address').args, ['--oci-worker-proxy-snapshotter-path']);
  });

  it('passes all other flags on as they are', () => {
    const args = ['--config', '/b.toml', '--addr=unix:///x.sock', '--oci-worker-net=host', '-q', 'unix:///y'];
    assert.deepEqual(plan(...args).args, args);
  });

  it('adds the path when only the name is given, and says so', () => {
    const { args, snapshotterAddress, notes } = plan('--oci-worker-snapshotter=stargz');
    assert.deepEqual(args, ['--oci-worker-snapshotter=stargz', '--oci-worker-proxy-snapshotter-path=/default.sock']);
    assert.equal(snapshotterAddress, '/default.sock');
    assert.equal(notes.length, 1);
  });

  it('says when nothing will be lazy', () => {
    assert.match(plan('--oci-worker-proxy-snapshotter-path=/a.sock').notes.join(), /--oci-worker-snapshotter=stargz/);
    assert.match(
      plan('--oci-worker=false', '--containerd-worker=true').notes.join(),
      /--containerd-worker-snapshotter=stargz/,
    );
    assert.deepEqual(
      plan('--oci-worker-snapshotter', 'stargz', '--oci-worker-proxy-snapshotter-address', '/a.sock').notes,
      [],
    );
  });

  it('knows when buildkitd is only asked for its help or version', () => {
    assert.ok(plan('--help').onlyAsks && plan('-v').onlyAsks && plan('--version').onlyAsks);
    assert.ok(plan('help').onlyAsks && plan('h').onlyAsks);
    assert.ok(!plan('--debug').onlyAsks && !plan('--group', 'help').onlyAsks);
  });

  it('knows which workers are asked for', () => {
    const containerd = plan('--oci-worker=false', '--containerd-worker=true', '--containerd-worker-snapshotter=stargz');
    assert.equal(containerd.snapshotterAddress, undefined);
    assert.equal(containerd.containerdAddress, '/run/containerd/containerd.sock');
    assert.deepEqual(containerd.notes, []);
    assert.equal(plan('--containerd-worker', '--containerd-worker-addr=unix:///c.sock').containerdAddress, '/c.sock');
    assert.equal(plan('--containerd-worker=false').containerdAddress, undefined);
    assert.equal(plan().containerdAddress, undefined);
  });
});
