import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, describe, it } from 'node:test';
import {
  type DescMessage,
  type DescMethod,
  type MessageInitShape,
  type MessageShape,
  create,
  fromBinary,
  toBinary,
} from '@bufbuild/protobuf';
import { Client, type ServiceError, credentials, status } from '@grpc/grpc-js';
import { codeOf, LazypullError } from '../../../src/errors.ts';
import { Health } from '../../../src/gen/health/v1/health_pb.ts';
import { Kind, Snapshots as SnapshotsDesc } from '../../../src/gen/services/snapshots/v1/snapshots_pb.ts';
import { listenAt } from '../../../src/kernel/unix-socket.ts';
import { Refusal } from '../../../src/layers/resolve/refusal.ts';
import { silentLog } from '../../../src/log.ts';
import { maxConnections } from '../../../src/rpc/client-connections.ts';
import { unindexed } from '../../../src/chunks/layer-id.ts';
import { estargz } from '../../../src/formats/estargz/format.ts';
import { fakeImage } from '../../support/fake-image.ts';
import { statusOf } from '../../../src/rpc/bridge.ts';
import type { RemoteLayers } from '../../../src/snapshots/remote-layers.ts';
import { serveSnapshots } from '../../../src/snapshots/server.ts';
import { openSnapshotter } from '../../../src/snapshots/snapshotter.ts';
import { until } from '../../support/until.ts';

const { method } = SnapshotsDesc;
const layers = {
  restore: () => Promise.resolve(),
  mount: () => Promise.reject(new Error('no layers here')),
  resolve: () => new Refusal('annotations', 'InvalidArgument', 'no layers here'),
  refusalOf: () => undefined,
  checkStacking: () => Promise.resolve(),
  check: () => Promise.resolve(),
  usage: () => Promise.resolve({ inodes: 0, bytes: 0, mostBytes: 0 }),
  unmount: () => Promise.resolve(),
};

describe('the Snapshots service', () => {
  it('answers all ten methods', async (t) => {
    const { call, list, root } = await start(t);
    const prepared = await call(method.prepare, { key: 'a', labels: { x: '1', empty: '' } });
    assert.equal(prepared.mounts[0]?.source, join(root, 'snapshotter/snapshots/1/fs'));
    assert.deepEqual((await call(method.mounts, { key: 'a' })).mounts, prepared.mounts);
    await call(method.commit, { name: 'c', key: 'a', labels: { y: '2' } });
    const view = await call(method.view, { key: 'v', parent: 'c' });
    assert.deepEqual(view.mounts[0]?.options, ['ro', 'rbind']);
    const { info } = await call(method.stat, { key: 'v' });
    assert.equal(info?.kind, Kind.VIEW);
    assert.equal(info.parent, 'c');
    assert.ok(Math.abs(Number(info.createdAt?.seconds) - Date.now() / 1000) < 5);
    assert.deepEqual(info.createdAt, info.updatedAt);
    const updated = await call(method.update, {
      info: { name: 'c', labels: { 'a.b/c': 'z' } },
      updateMask: { paths: ['labels.a.b/c', 'labels.y'] },
    });
    assert.deepEqual({ ...updated.info?.labels }, { 'a.b/c': 'z' });
    assert.equal((await call(method.usage, { key: 'c' })).inodes, 1n);
    const blocks = await list(['labels."a.b/c"==z']);
    assert.deepEqual(
      blocks.map(({ info }) => info.map(({ name }) => name)),
      [['c']],
    );
    await call(method.remove, { key: 'v' });
    await call(method.cleanup, {});
  });

  it('tells a Prepare that waits for a layer when its client gives up', async (t) => {
    const ended = Promise.withResolvers<Error>();
    const waiting = (_mountpoint: string, _labels: object, signal?: AbortSignal): Promise<never> =>
      new Promise((_, reject) => {
        signal!.addEventListener('abort', () => {
          ended.resolve(signal!.reason as Error);
          reject(signal!.reason as Error);
        });
      });
    const resolve: RemoteLayers['resolve'] = () => ({
      id: unindexed(`sha256:${'a'.repeat(64)}`),
      format: estargz,
      image: fakeImage('a:1'),
      siblings: [],
      prefetchBytes: undefined,
    });
    const { call } = await start(t, undefined, { ...layers, resolve, mount: waiting });
    const labels = { 'containerd.io/snapshot.ref': 'target' };
    await assert.rejects(call(method.prepare, { key: 'p', labels }, { deadline: Date.now() + 500 }), {
      code: status.DEADLINE_EXCEEDED,
    });
    assert.equal(codeOf(await ended.promise), 'Canceled');
    await assert.rejects(call(method.stat, { key: 'p' }), { code: status.NOT_FOUND });
  });

  it("answers errors with containerd's codes and texts", async (t) => {
    const { call, list } = await start(t);
    await call(method.prepare, { key: 'a' });
    for (const [code, text, failing] of [
      [status.NOT_FOUND, 'Cannot find snapshot "absent": not found', call(method.stat, { key: 'absent' })],
      [status.ALREADY_EXISTS, 'Cannot create snapshot "a": already exists', call(method.prepare, { key: 'a' })],
      [status.INVALID_ARGUMENT, ': invalid argument', call(method.view, { key: 'b', parent: 'a' })],
      [status.INVALID_ARGUMENT, ': invalid argument', call(method.update, {})],
      [status.INVALID_ARGUMENT, ': invalid argument', list(['=='])],
      [status.INVALID_ARGUMENT, ': invalid argument', call(method.prepare, { key: 'x'.repeat(1_000_000) })],
      [status.NOT_FOUND, ': not found', call(method.stat, { key: '€\n'.repeat(5000) })],
    ] as const) {
      await assert.rejects(failing, (error: ServiceError) => error.code === code && error.details.endsWith(text));
    }
  });

  it('says once which class an error is', () => {
    assert.deepEqual(statusOf(new Error('odd')), { code: status.UNKNOWN, details: 'odd: unknown' });
    const twice = new LazypullError('NotFound', 'x: not found', { cause: new Error('y') });
    assert.deepEqual(statusOf(twice), { code: status.NOT_FOUND, details: 'x: not found: y: not found' });
    assert.equal(statusOf(new LazypullError('AlreadyExists', 'a: already exists')).details, 'a: already exists');
  });

  it('streams any number of snapshots in blocks of 100, also to a slow reader', async (t) => {
    const { call, list } = await start(t);
    const labels = { long: 'x'.repeat(10_000) };
    for (let i = 0; i < 250; i++) await call(method.prepare, { key: `k${i}`, labels });
    const blocks = await list([]);
    assert.deepEqual(
      blocks.map(({ info }) => info.length),
      [100, 100, 50],
    );
    assert.equal(new Set(blocks.flatMap(({ info }) => info.map(({ name }) => name))).size, 250);
  });

  it('takes labels of megabytes, and refuses messages above 16 MiB', async (t) => {
    const { call } = await start(t);
    const big = 'x'.repeat(7 * 1024 * 1024);
    await call(method.prepare, { key: 'a', labels: { a: big, b: big } });
    const { info } = await call(method.stat, { key: 'a' });
    assert.equal(info?.labels['b'], big);
    await assert.rejects(
      call(method.prepare, { key: 'b', labels: { a: big, b: big, c: big } }),
      (error: ServiceError) => error.code === status.RESOURCE_EXHAUSTED,
    );
  });

  it('lists snapshots with many megabytes of labels in messages that a client takes, and refuses labels beyond those', async (t) => {
    const { call, list } = await start(t);
    const labels = { long: 'x'.repeat(700_000) };
    for (let i = 0; i < 30; i++) await call(method.prepare, { key: `k${i}`, labels });
    const blocks = await list([]);
    assert.deepEqual(new Set(blocks.map(({ info }) => info.length)), new Set([1]));
    const more = { name: 'k0', labels: { a: 'x'.repeat(15_500_000) } };
    await assert.rejects(
      call(method.update, { info: more, updateMask: { paths: ['labels.a'] } }),
      (error: ServiceError) => error.code === status.INVALID_ARGUMENT,
    );
    assert.equal((await list([])).length, 30);
  });

  it('answers others while it looks through many megabytes of labels', async (t) => {
    const { call, list } = await start(t);
    const labels = Object.fromEntries(Array.from({ length: 3500 }, (_, i) => [`label-${i}`, 'x'.repeat(3900)]));
    for (let i = 0; i < 12; i++) await call(method.prepare, { key: `k${i}`, labels });
    for (const filter of ['labels.other==x', 'labels."label-7"~=/y$/,kind==active', 'kind==view']) {
      let isOver = false;
      const listed = list([filter]).finally(() => (isOver = true));
      let answered = 0;
      for (; !isOver; answered++) await call(method.usage, { key: 'k0' });
      assert.deepEqual(await listed, []);
      if (filter.startsWith('labels')) assert.ok(answered >= 3, `${answered} calls were answered during a list`);
    }
  });

  it('goes on after connections that do not speak HTTP/2, and calls that are abandoned', async (t) => {
    const { call, path, client } = await start(t);
    for (const bytes of ['', '\0', 'GET / HTTP/1.1\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff']) {
      const socket = connect(path);
      await once(socket, 'connect');
      socket.on('error', () => {});
      socket.end(bytes, 'latin1');
      socket.resume();
      if (bytes !== '') await once(socket, 'close');
    }
    for (let i = 0; i < 300; i++) await call(method.prepare, { key: `k${i}`, labels: { long: 'x'.repeat(10_000) } });
    const stream = client.makeServerStreamRequest(pathOf(method.list), write, read(method.list.output), {});
    stream.on('error', () => {});
    stream.cancel();
    await call(method.stat, { key: 'k1' });
  });

  it('serves its client while thousands connect and say nothing, or half a word, and keeps a bounded number of them', async (t) => {
    const { call, path, connections } = await start(t);
    await call(method.prepare, { key: 'a' });
    const sockets: Socket[] = [];
    t.after(() => sockets.forEach((socket) => socket.destroy()));
    const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
    for (let i = 0; i < maxConnections + 200; i++) {
      const socket = connect(path);
      socket.on('error', () => {});
      sockets.push(socket);
      await once(socket, 'connect');
      if (i % 4 === 0) socket.write(preface.slice(0, 1 + (i % preface.length)));
      if (i % 100 === 0) await call(method.stat, { key: 'a' });
    }
    await call(method.stat, { key: 'a' });
    assert.equal(await connections(), maxConnections);
    for (const socket of sockets) socket.destroy();
    await until(async () => (await connections()) <= 1, 'connections are left');
  });

  it('answers health checks until it closes', async (t) => {
    const { call, client, server } = await start(t);
    assert.equal((await call(Health.method.check, {})).status, 1);
    assert.equal((await call(Health.method.check, { service: SnapshotsDesc.typeName })).status, 1);
    await assert.rejects(call(Health.method.check, { service: 'x' }), /NOT_FOUND/);
    const watch = client.makeServerStreamRequest(
      pathOf(Health.method.watch),
      write,
      read(Health.method.watch.output),
      {},
    );
    const seen: number[] = [];
    watch.on('data', ({ status }: { status: number }) => seen.push(status));
    await once(watch, 'data');
    const ended = once(watch, 'end');
    await server.close(1000);
    await ended;
    assert.deepEqual(seen, [1, 2]);
  });
});

describe('health checks of a server that is not well', () => {
  it('say so, and a watch tells when that changes', async (t) => {
    let isWell = false;
    const { call, client } = await start(t, () => isWell);
    for (const service of ['', SnapshotsDesc.typeName]) {
      assert.equal((await call(Health.method.check, { service })).status, 2);
    }
    const watch = client.makeServerStreamRequest(
      pathOf(Health.method.watch),
      write,
      read(Health.method.watch.output),
      {},
    );
    const next = async () => ((await once(watch, 'data')) as [{ status: number }])[0].status;
    watch.on('error', () => undefined);
    assert.equal(await next(), 2);
    isWell = true;
    assert.equal(await next(), 1);
    assert.equal((await call(Health.method.check, {})).status, 1);
    isWell = false;
    assert.equal(await next(), 2);
    watch.cancel();
  });
});

async function start(t: TestContext, isWell?: () => boolean, remote: RemoteLayers = layers) {
  const root = mkdtempSync(join(tmpdir(), 'service-'));
  const path = join(root, 'socket');
  const snapshotter = await openSnapshotter({ root, layers: remote, log: silentLog });
  await snapshotter.restore();
  const server = await serveSnapshots(await listenAt(path), snapshotter, silentLog, undefined, [], undefined, isWell);
  const client = new Client(`unix:${path}`, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
  t.after(async () => {
    client.close();
    await server.close(1000);
    await snapshotter.close();
    rmSync(root, { recursive: true });
  });
  const call = <I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    request: MessageInitShape<I>,
    options: { readonly deadline?: number } = {},
  ) =>
    new Promise<MessageShape<O>>((resolve, reject) => {
      const bytes = toBinary(method.input, create(method.input, request));
      client.makeUnaryRequest(pathOf(method), write, read(method.output), bytes, options, (error, response) => {
        if (error || !response) reject(error ?? new Error('no response'));
        else resolve(response as MessageShape<O>);
      });
    });
  const list = async (filters: string[]) => {
    const input = method.list.input;
    const bytes = toBinary(input, create(input, { filters }));
    const blocks: MessageShape<typeof method.list.output>[] = [];
    const stream = client.makeServerStreamRequest(pathOf(method.list), write, read(method.list.output), bytes);
    for await (const block of stream) {
      blocks.push(block as (typeof blocks)[number]);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return blocks;
  };
  /** How many connections the server has: the kernel lists them by the path of the socket that they were made to. */
  const connections = async () => {
    const lines = (await readFile('/proc/net/unix', 'utf8')).split('\n');
    return lines.filter((line) => line.endsWith(` ${path}`) && / 0001 03 /.test(line)).length;
  };
  return { root, path, snapshotter, server, client, call, list, connections };
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function write(bytes: unknown): Buffer {
  return bytes instanceof Uint8Array ? Buffer.from(bytes) : Buffer.alloc(0);
}

function read(schema: DescMessage): (bytes: Buffer) => MessageShape<DescMessage> {
  return (bytes) => fromBinary(schema, bytes);
}
