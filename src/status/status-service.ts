import type { MessageInitShape } from '@bufbuild/protobuf';
import { Status, type UseSchema } from '../gen/status/v1/status_pb.ts';
import type { Log } from '../log.ts';
import { bridge, type Bridged } from '../rpc/bridge.ts';
import type { LayerUse } from '../layers/uses/layer-use.ts';
import type { StatusSource } from './status.ts';

/** The most digests of one question. */
const maxDigests = 4096;

/** `lazypull.status.v1.Status` for a gRPC server. */
export function statusService(source: StatusSource, log: Log): Bridged {
  return bridge(
    Status,
    {
      async get() {
        const { version, startedMs, layers, clients, cache, mirror, problems } = await source.status();
        return {
          version,
          startedMs: BigInt(Math.round(startedMs)),
          layers: layers.map((layer) => ({
            ...layer,
            references: [...layer.references],
            clients: [...layer.clients],
            mountedMs: BigInt(layer.mountedMs),
            blobBytes: BigInt(layer.blobBytes),
            contentBytes: BigInt(layer.contentBytes),
            presentBytes: BigInt(layer.presentBytes),
            fetchedBytes: BigInt(layer.fetchedBytes),
            errors: BigInt(layer.errors),
          })),
          clients: clients.map(({ name, address, process, refused }) => ({
            name,
            address,
            ...(process && { process }),
            ...(refused && { refused }),
          })),
          cache: { bytes: BigInt(cache.bytes), layers: cache.layers },
          problems: [...problems],
          ...(mirror && { mirror: { ...mirror, bytes: BigInt(mirror.bytes) } }),
        };
      },
      outcomes({ digests }) {
        const outcomes = source.outcomes(digests.slice(0, maxDigests)).map((outcome) => ({
          ...outcome,
          reason: outcome.reason ?? '',
          how: outcome.how ?? '',
          atMs: BigInt(outcome.atMs),
        }));
        return { outcomes };
      },
      async uses() {
        const { sinceMs, uses } = await source.uses();
        return { sinceMs: BigInt(Math.round(sinceMs)), uses: uses.map(wireUse) };
      },
    },
    log,
  );
}

function wireUse({ strip, fetched, ...use }: LayerUse): MessageInitShape<typeof UseSchema> {
  return {
    ...use,
    references: [...use.references],
    startedMs: BigInt(Math.round(use.startedMs)),
    endedMs: BigInt(Math.round(use.endedMs ?? 0)),
    blobBytes: BigInt(use.blobBytes),
    contentBytes: BigInt(use.contentBytes),
    presentBytes: BigInt(use.presentBytes),
    readBytes: BigInt(use.readBytes),
    fetched: Object.fromEntries(Object.entries(fetched).map(([reason, bytes]) => [reason, BigInt(bytes)])),
    waits: BigInt(use.waits),
    errors: BigInt(use.errors),
    strip: strip ?? new Uint8Array(),
  };
}
