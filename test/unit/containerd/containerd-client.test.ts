import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import { failureOf } from '../../../src/containerd/containerd-client.ts';

describe('failureOf', () => {
  const failure = (code: number, details: string, errno?: string) =>
    failureOf('/run/cd.sock', { method: 'Prepare', code, details, errno });

  it('tells a daemon that containerd cannot reach from a containerd that we cannot reach', () => {
    const dialling = 'connection error: desc = "transport: Error while dialing: dial unix:///run/lp.sock: timeout"';
    const daemon = failure(status.UNAVAILABLE, dialling);
    assert.equal(
      daemon.message,
      'Cannot reach the daemon at "/run/lp.sock", which the containerd at "/run/cd.sock" has as a snapshotter: nothing serves there',
    );
    assert.equal(daemon.hint, 'start it: lazypull daemon --address /run/lp.sock');
    const absent =
      'connection error: desc = "transport: error while dialing: dial unix /run/lp.sock: connect: no such file or directory"';
    assert.match(failure(status.UNAVAILABLE, absent).message, /daemon at "\/run\/lp\.sock".*no such socket$/);
    const denied = 'transport: Error while dialing: dial unix:///run/lp.sock: connect: permission denied"';
    assert.match(failure(status.UNAVAILABLE, denied).message, /snapshotter: permission denied$/);
    const own = failure(
      status.UNAVAILABLE,
      'No connection established. Last error: Error: connect ENOENT /run/cd.sock',
      'ENOENT',
    );
    assert.equal(own.message, 'Cannot reach the containerd at "/run/cd.sock": ENOENT');
    assert.match(own.hint ?? '', /^start it/);
    assert.match(
      failure(status.UNAVAILABLE, 'error reading from server: EOF').message,
      /its snapshotter ended the connection/,
    );
  });

  it('names a snapshotter that containerd does not have, and what is no containerd', () => {
    const missing = failure(status.INVALID_ARGUMENT, 'snapshotter not loaded: stargz: invalid argument');
    assert.equal(missing.message, 'Cannot find the snapshotter "stargz" in the containerd at "/run/cd.sock"');
    assert.match(missing.hint ?? '', /lazypull setup containerd/);
    const other = failure(status.UNIMPLEMENTED, 'unknown service containerd.services.leases.v1.Leases');
    assert.match(other.message, /it is not containerd/);
    assert.equal(
      failure(status.UNKNOWN, 'no answer').message,
      'Cannot call Prepare of the containerd at "/run/cd.sock": no answer',
    );
  });
});
