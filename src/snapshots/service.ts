import type { TimestampSchema } from '@bufbuild/protobuf/wkt';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Server } from '@grpc/grpc-js';
import { LazypullError } from '../errors.ts';
import {
  type InfoSchema,
  Kind as WireKind,
  Snapshots as SnapshotsDesc,
} from '../gen/services/snapshots/v1/snapshots_pb.ts';
import type { MountSchema } from '../gen/types/mount_pb.ts';
import type { Log } from '../log.ts';
import { bridge, type Guard } from '../rpc/bridge.ts';
import type { CallMetrics } from '../rpc/metrics.ts';
import { labelBytes } from './labels.ts';
import type { Kind, Mount, SnapshotInfo, Snapshots } from './snapshot.ts';
import type { StoreOwner } from './store-owner.ts';
import { Turns } from '../rpc/turns.ts';

const INFOS_PER_MESSAGE = 100;

/**
 * A message of a list is full after so many bytes of names and labels, so that no message is too large for a client.
 */
const BYTES_PER_MESSAGE = 1024 * 1024;

/**
 * Adds `containerd.services.snapshots.v1.Snapshots` to a server. The field `snapshotter` of requests is ignored, as
 * containerd's own service ignores it.
 */
export function addSnapshots(
  server: Server,
  snapshots: Snapshots,
  log: Log,
  metrics?: CallMetrics,
  client?: StoreOwner,
): void {
  const { definition, implementation } = snapshotsService(snapshots, log, metrics, client);
  server.addService(definition, implementation);
}

/** The methods that change nothing. Any process may call them, such as a program that inspects the socket. */
const reading: ReadonlySet<string> = new Set(['Stat', 'List', 'Usage', 'Mounts']);

/** The wire form of a snapshotter. Only processes that `client` accepts may change something. */
export function snapshotsService(
  snapshots: Snapshots,
  log: Log,
  metrics?: CallMetrics,
  client?: StoreOwner,
): ReturnType<typeof bridge> {
  const guard: Guard = (method, pid) => {
    if (!reading.has(method)) client?.check(pid);
  };
  return bridge(
    SnapshotsDesc,
    {
      async prepare({ key, parent, labels }, _, signal, traceparent) {
        const prepared = await snapshots.prepare(key, parent, labels, { signal, traceparent });
        if ('mounts' in prepared) return { mounts: wireMounts(prepared.mounts) };
        // The protocol has no other word for it.
        throw new LazypullError('AlreadyExists', `The target snapshot "${prepared.ready}" is ready`);
      },
      view: async ({ key, parent, labels }) => ({ mounts: wireMounts(await snapshots.view(key, parent, labels)) }),
      mounts: async ({ key }) => ({ mounts: wireMounts(await snapshots.mounts(key)) }),
      commit({ name, key, parent, labels }) {
        snapshots.commit(name, key, parent, labels);
        return {};
      },
      remove({ key }) {
        snapshots.remove(key);
        return {};
      },
      stat: ({ key }) => ({ info: wireInfo(snapshots.stat(key)) }),
      update({ info, updateMask }) {
        if (!info) throw new LazypullError('InvalidArgument', 'An update needs the name of a snapshot');
        return { info: wireInfo(snapshots.update(info.name, info.labels, updateMask?.paths ?? [])) };
      },
      async *list({ filters }) {
        let block: MessageInitShape<typeof InfoSchema>[] = [];
        let bytes = 0;
        for await (const info of snapshots.list(filters)) {
          const added = labelBytes(info.labels) + info.name.length + info.parent.length;
          if (block.length === INFOS_PER_MESSAGE || (block.length > 0 && bytes + added > BYTES_PER_MESSAGE)) {
            yield { info: block };
            block = [];
            bytes = 0;
          }
          block.push(wireInfo(info));
          bytes += added;
        }
        if (block.length > 0) yield { info: block };
      },
      async usage({ key }, namespace) {
        const { inodes, bytes } = await snapshots.usage(key, namespace);
        return { inodes: BigInt(inodes), size: BigInt(bytes) };
      },
      async cleanup() {
        await snapshots.cleanup();
        return {};
      },
    },
    log,
    metrics,
    guard,
    new Turns(),
  );
}

const wireKinds: Readonly<Record<Kind, WireKind>> = {
  view: WireKind.VIEW,
  active: WireKind.ACTIVE,
  committed: WireKind.COMMITTED,
};

function wireInfo(info: SnapshotInfo): MessageInitShape<typeof InfoSchema> {
  const { name, parent, kind, createdMicros, updatedMicros, labels } = info;
  return {
    name,
    parent,
    kind: wireKinds[kind],
    labels: { ...labels },
    createdAt: wireTime(createdMicros),
    updatedAt: wireTime(updatedMicros),
  };
}

function wireTime(micros: number): MessageInitShape<typeof TimestampSchema> {
  return { seconds: BigInt(Math.floor(micros / 1e6)), nanos: (micros % 1e6) * 1000 };
}

function wireMounts(mounts: readonly Mount[]): MessageInitShape<typeof MountSchema>[] {
  return mounts.map(({ type, source, options }) => ({ type, source, options: [...options] }));
}
