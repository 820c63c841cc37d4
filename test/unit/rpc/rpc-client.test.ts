import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempDisposableSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import { LazypullError } from '../../../src/errors.ts';
import { Cache } from '../../../src/gen/cache/v1/cache_pb.ts';
import { Health } from '../../../src/gen/health/v1/health_pb.ts';
import { silentLog } from '../../../src/log.ts';
import { bridge, type Bridged } from '../../../src/rpc/bridge.ts';
import { type CallFailure, RpcClient } from '../../../src/rpc/rpc-client.ts';
import { until } from '../../support/until.ts';

/** A server at a socket, and a client that keeps what it is told of failures. */
async function serve(bridged: Bridged) {
  const directory = mkdtempDisposableSync(join(tmpdir(), 'lazypull-rpc-'));
  const address = join(directory.path, 's.sock');
  const server = new Server();
  server.addService(bridged.definition, bridged.implementation);
  await new Promise<void>((resolve, reject) => {
    const credentials = ServerCredentials.createInsecure();
    server.bindAsync(`unix:${address}`, credentials, (error) => (error ? reject(error) : resolve()));
  });
  const failures: CallFailure[] = [];
  const client = new RpcClient(address, (failure) => {
    failures.push(failure);
    return new LazypullError('Unknown', failure.details);
  });
  return {
    client,
    failures,
    [Symbol.dispose]() {
      client[Symbol.dispose]();
      server.forceShutdown();
      directory[Symbol.dispose]();
    },
  };
}

const refuse = (hint?: string) => () => {
  throw new LazypullError('FailedPrecondition', 'It is "wrong"', { hint });
};

describe('RpcClient', () => {
  it('gets the message and the hint of an error as they were, beside the one text that others get', async () => {
    const watch = async function* () {};
    using served = await serve(bridge(Health, { check: refuse('mend it'), watch }, silentLog));
    await assert.rejects(served.client.unary(Health.method.check, {}, 5000));
    const [{ code, details, fields, errno, method }] = served.failures as [CallFailure];
    assert.deepEqual([code, errno, method], [status.FAILED_PRECONDITION, undefined, 'Check']);
    assert.equal(details, 'It is "wrong"; mend it: failed precondition');
    assert.deepEqual([fields?.message, fields?.hint], ['It is "wrong"', 'mend it']);
  });

  it('gets them of a stream that ends with an error, and its answers before', async () => {
    const list = async function* () {
      yield { contentBytes: 1n, presentBytes: 1n };
      refuse()();
    };
    const other = async function* () {};
    using served = await serve(bridge(Cache, { list, prune: other, verify: other }, silentLog));
    const answers: bigint[] = [];
    await assert.rejects(async () => {
      for await (const { contentBytes } of served.client.stream(Cache.method.list, {})) answers.push(contentBytes);
    });
    assert.deepEqual(answers, [1n]);
    assert.equal(served.failures[0]?.fields?.message, 'It is "wrong"');
  });

  it('tells why nobody answers', async () => {
    const failures: CallFailure[] = [];
    using client = new RpcClient('/nonexistent/x.sock', (failure) => {
      failures.push(failure);
      return new LazypullError('Unavailable', '');
    });
    await assert.rejects(client.unary(Health.method.check, {}, 5000), { code: 'Unavailable' });
    assert.equal(failures[0]?.errno, 'ENOENT');
  });
});

describe('bridge', () => {
  const watch = async function* () {};

  it('does not abort the signal of a call that has been answered', async () => {
    const signals: AbortSignal[] = [];
    const check = (_: unknown, __: string, signal: AbortSignal) => {
      signals.push(signal);
      return signals.length === 1 ? {} : refuse()();
    };
    using served = await serve(bridge(Health, { check, watch }, silentLog));
    await served.client.unary(Health.method.check, {}, 5000);
    await assert.rejects(served.client.unary(Health.method.check, {}, 5000));
    await served.client.unary(Health.method.check, {}, 5000).catch(() => undefined); // the others are over by now
    assert.deepEqual(
      signals.slice(0, 2).map(({ aborted }) => aborted),
      [false, false],
    );
  });

  it('aborts the signal of a call that its client gives up', async () => {
    const { promise: begun, resolve: begin } = Promise.withResolvers<AbortSignal>();
    const check = (_: unknown, __: string, signal: AbortSignal) => {
      begin(signal);
      return new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    };
    using served = await serve(bridge(Health, { check, watch }, silentLog));
    const call = assert.rejects(served.client.unary(Health.method.check, {}, 100));
    const signal = await begun;
    await call;
    await until(() => signal.aborted, 'the signal does not abort');
  });

  it('does not wait for ever for a server that was stopped', async () => {
    using directory = mkdtempDisposableSync(join(tmpdir(), 'lazypull-rpc-'));
    const address = join(directory.path, 's.sock');
    const sockets: Socket[] = [];
    const silent = createServer((socket) => void sockets.push(socket)).listen(address);
    await once(silent, 'listening');
    const fail = ({ details, errno }: CallFailure): LazypullError =>
      new LazypullError('Unavailable', `${details} ${errno}`);
    using client = new RpcClient(address, fail, 100);
    await assert.rejects(Array.fromAsync(client.stream(Cache.method.list, {})), { code: 'Unavailable' });
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
});
