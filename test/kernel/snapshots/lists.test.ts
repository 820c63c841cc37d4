import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { create, type DescMethod, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { Client, credentials } from '@grpc/grpc-js';
import { Snapshots } from '../../../src/gen/services/snapshots/v1/snapshots_pb.ts';
import { startDaemon } from '../../support/daemon.ts';
import { peakMemory, resetPeakMemory } from '../../support/memory.ts';
import { Workspace } from '../../support/workspace.ts';

const { method } = Snapshots;
const snapshotCount = 30;

/** 14 MB, as many as fit into a message. */
const labels = Object.fromEntries(Array.from({ length: 3500 }, (_, i) => [`label-${i}`, 'x'.repeat(4000)]));

/**
 * What a daemon takes with one row and a few answers in its hands. All rows have 420 MB, which are held several times
 * over.
 */
const maxPeakMb = 800;

const pathOf = (rpc: DescMethod) => `/${rpc.parent.typeName}/${rpc.name}`;

/** A client that makes a call, and never reads the answer. */
async function askAndNeverRead<M extends DescMethod>(
  t: TestContext,
  socket: string,
  rpc: M,
  request: MessageInitShape<M['input']>,
): Promise<void> {
  const session = connectHttp2('http://x', { createConnection: () => connect(socket) });
  session.on('error', () => {});
  t.after(() => session.destroy());
  const headers = { ':method': 'POST', ':path': pathOf(rpc), te: 'trailers', 'content-type': 'application/grpc' };
  const stream = session.request(headers);
  stream.on('error', () => {});
  const bytes = toBinary(rpc.input, create(rpc.input, request));
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  stream.end(Buffer.concat([prefix, bytes]));
  await once(session, 'connect');
}

test('A daemon whose snapshots have very long labels stays small, whatever clients ask and do not read', async (t) => {
  await using workspace = await Workspace.open('lp-lists');
  await using daemon = await startDaemon(join(workspace.path, 'lp'));
  const client = new Client(`unix:${daemon.socket}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': 16 << 20,
  });
  t.after(() => client.close());
  const ask = <M extends DescMethod>(rpc: M, request: MessageInitShape<M['input']>) =>
    new Promise((resolve, reject) => {
      const write = (bytes: Uint8Array) => Buffer.from(bytes);
      const read = (bytes: Buffer) => fromBinary(rpc.output, bytes);
      const bytes = toBinary(rpc.input, create(rpc.input, request));
      client.makeUnaryRequest(pathOf(rpc), write, read, bytes, (error, answer) => {
        if (error) reject(error);
        else resolve(answer);
      });
    });
  const list = async (filters: string[]) => {
    const { input, output } = method.list;
    const bytes = toBinary(input, create(input, { filters }));
    const read = (message: Buffer) => fromBinary(output, message);
    const stream = client.makeServerStreamRequest(
      pathOf(method.list),
      (each: Uint8Array) => Buffer.from(each),
      read,
      bytes,
    );
    let count = 0;
    for await (const { info } of stream as AsyncIterable<{ info: unknown[] }>) count += info.length;
    return count;
  };
  for (let i = 0; i < snapshotCount; i++) await ask(method.prepare, { key: `k${i}`, labels });

  t.diagnostic(`${await peakMemory(daemon.program.pid)} MB after the snapshots were made`);
  await resetPeakMemory(daemon.program.pid);
  t.diagnostic(`${await peakMemory(daemon.program.pid)} MB at the start`);
  assert.equal(await list(['labels."label-7"~=/y$/']), 0);
  t.diagnostic(`${await peakMemory(daemon.program.pid)} MB after a list that matches nothing`);
  assert.equal(await list([]), snapshotCount);
  t.diagnostic(`${await peakMemory(daemon.program.pid)} MB after a list of everything`);
  for (let i = 0; i < 30; i++) {
    await askAndNeverRead(t, daemon.socket, method.list, {});
    await askAndNeverRead(t, daemon.socket, method.stat, { key: 'k1' });
  }
  await sleep(2000);
  assert.equal(await list([]), snapshotCount);
  await ask(method.stat, { key: 'k1' });
  const peak = await peakMemory(daemon.program.pid);
  t.diagnostic(`${peak} MB with 60 answers that nobody reads`);
  assert.ok(peak < maxPeakMb, `${peak} MB`);
});
