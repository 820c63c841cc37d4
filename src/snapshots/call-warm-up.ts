import { join } from 'node:path';
import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Client, credentials } from '@grpc/grpc-js';
import { Snapshots } from '../gen/services/snapshots/v1/snapshots_pb.ts';
import { listenAt } from '../kernel/unix-socket.ts';
import { silentLog } from '../log.ts';
import { targetLabel } from '../label-names.ts';
import { Refusal } from '../layers/resolve/refusal.ts';
import type { RemoteLayers } from './remote-layers.ts';
import { serveSnapshots } from './server.ts';
import { openSnapshotter } from './snapshotter.ts';

const { method } = Snapshots;

/** No layer is lazy here. */
const noLayers: RemoteLayers = {
  resolve: () => new Refusal('annotations', 'InvalidArgument', 'No layers here'),
  refusalOf: () => undefined,
  mount: () => Promise.reject(new Error('No layers here')),
  restore: () => Promise.resolve(),
  checkStacking: () => Promise.resolve(),
  check: () => Promise.resolve(),
  usage: () => Promise.resolve({ inodes: 0, bytes: 0, mostBytes: 0 }),
  unmount: () => Promise.resolve(),
};

/**
 * Makes the calls of a build's first step to a service of its own, which no client can reach. The first call of each
 * kind takes several times as long as later ones.
 *
 * @param directory an existing, empty directory; what is left in it is the caller's
 * @param goesOn asked before each call: false ends the warm-up
 */
export async function warmUpCalls(directory: string, goesOn: () => boolean): Promise<void> {
  const path = join(directory, 'socket');
  await using snapshotter = await openSnapshotter({ root: directory, layers: noLayers, log: silentLog });
  const server = await serveSnapshots(await listenAt(path), snapshotter, silentLog);
  const client = new Client(`unix:${path}`, credentials.createInsecure());
  const call: Call = (called, request) => (goesOn() ? callOnce(client, called, request) : Promise.resolve());
  try {
    await build(call);
  } finally {
    client.close();
    await server.close(0);
  }
}

type Call = <I extends DescMessage>(
  method: DescMethod & { readonly input: I },
  request: MessageInitShape<I>,
) => Promise<void>;

async function build(call: Call): Promise<void> {
  const [layer, lazy, unpacked, step] = ['layer', 'lazy', 'unpacked', 'step'];
  await call(method.stat, { key: layer });
  await call(method.prepare, { key: lazy, labels: { [targetLabel]: layer } });
  await call(method.prepare, { key: unpacked });
  await call(method.mounts, { key: unpacked });
  await call(method.commit, { name: layer, key: unpacked });
  await call(method.stat, { key: layer });
  await call(method.update, { info: { name: layer, labels: { x: 'y' } }, updateMask: { paths: ['labels.x'] } });
  await call(method.prepare, { key: step, parent: layer });
  await call(method.mounts, { key: step });
  await call(method.remove, { key: step });
  await call(method.usage, { key: layer });
  await call(method.cleanup, {});
}

/** Resolves with any answer, even with an error. */
function callOnce<I extends DescMessage>(
  client: Client,
  { input, output, parent, name }: DescMethod & { readonly input: I },
  request: MessageInitShape<I>,
): Promise<void> {
  const write = (bytes: Uint8Array) => Buffer.from(bytes);
  const read = (bytes: Buffer) => fromBinary(output, bytes);
  const bytes = toBinary(input, create(input, request));
  return new Promise((resolve) => {
    client.makeUnaryRequest(`/${parent.typeName}/${name}`, write, read, bytes, () => resolve());
  });
}
