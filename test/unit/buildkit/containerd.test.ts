import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parse } from 'smol-toml';
import { containerdConfig, pluginAddress } from '../../../src/buildkit/containerd.ts';
import { containerdAt, defaultAddress, instanceAt, logsAt } from '../../../src/buildkit/places.ts';

describe('containerdConfig', () => {
  it('is TOML with the stargz plugin at a daemon of its own', () => {
    const places = containerdAt('/run/c/containerd.sock', { LAZYPULL_HOME: '/h "x"' });
    assert.deepEqual(structuredClone(parse(containerdConfig(places))), {
      version: 2,
      root: '/h "x"/containerd-worker/containerd',
      state: '/run/c/lazypull',
      disabled_plugins: [
        'io.containerd.grpc.v1.cri',
        'io.containerd.cri.v1.images',
        'io.containerd.cri.v1.runtime',
        'io.containerd.podsandbox.controller.v1.podsandbox',
        'io.containerd.nri.v1.nri',
      ],
      grpc: { address: '/run/c/containerd.sock' },
      proxy_plugins: {
        stargz: {
          type: 'snapshot',
          address: '/run/c/lazypull/lazypull.sock',
          exports: { root: '/h "x"/containerd-worker/lazypull', enable_remote_snapshot_annotations: 'true' },
        },
      },
    });
  });
});

describe('pluginAddress', () => {
  const listing = `Type:          io.containerd.snapshotter.v1
ID:            stargz
Platforms:     linux/amd64
Exports:      
               root                                    /var/lib/x
               address                                 /run/x.sock
`;

  it('is the address among the exports', () => assert.equal(pluginAddress(listing), '/run/x.sock'));

  it('is that of the snapshotter called stargz only', () => {
    assert.equal(pluginAddress(''), undefined);
    assert.equal(pluginAddress(listing.replace('stargz', 'soci')), undefined);
    assert.equal(pluginAddress(listing.replace('snapshotter', 'differ')), undefined);
  });
});

describe('places', () => {
  it('are those of containerd-stargz-grpc for its socket', () => {
    assert.equal(instanceAt(defaultAddress({}), {}).root, '/var/lib/containerd-stargz-grpc');
    assert.equal(logsAt({}), '/var/log/lazypull');
  });

  it('differ for another socket, as one daemon serves one client', () => {
    assert.equal(instanceAt('/run/a/b.sock', {}).root, '/var/lib/lazypull/roots/run-a-b.sock');
  });

  it('follow the environment', () => {
    const env = { LAZYPULL_ADDRESS: '/e.sock', LAZYPULL_ROOT: '/e', LAZYPULL_HOME: '/h' };
    assert.deepEqual(instanceAt(defaultAddress(env), env), { address: '/e.sock', root: '/e' });
    assert.equal(instanceAt('/other.sock', env).root, '/h/roots/other.sock');
    assert.equal(logsAt(env), '/h/log');
  });
});
