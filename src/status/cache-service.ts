import { LazypullError } from '../errors.ts';
import { Cache } from '../gen/cache/v1/cache_pb.ts';
import type { CacheAccess, CachedLayer } from '../layers/cache/cache-access.ts';
import type { Log } from '../log.ts';
import { bridge, type Bridged } from '../rpc/bridge.ts';

/** `lazypull.cache.v1.Cache` for a gRPC server: the cache below `root`, for commands that name this root. */
export function cacheService(root: string, cache: CacheAccess, log: Log): Bridged {
  const check = (asked: string): void => {
    if (asked === root) return;
    throw new LazypullError('FailedPrecondition', `It keeps its layers in "${root}", not in "${asked}"`);
  };
  return bridge(
    Cache,
    {
      async *list(request) {
        check(request.root);
        for await (const { contentBytes, presentBytes, ...layer } of cache.list()) {
          yield { layer: onWire(layer), contentBytes: BigInt(contentBytes), presentBytes: BigInt(presentBytes) };
        }
      },
      async *prune({ root: asked, unusedMs, keepBytes }) {
        check(asked);
        for await (const layer of cache.prune({ unusedMs: Number(unusedMs), keepBytes: Number(keepBytes) })) {
          yield { layer: onWire(layer) };
        }
      },
      async *verify(request) {
        check(request.root);
        for await (const { layer, found } of cache.verify()) {
          const counts = found && { parts: BigInt(found.parts), damaged: BigInt(found.damaged) };
          yield counts === undefined ? { layer: onWire(layer) } : { layer: onWire(layer), found: counts };
        }
      },
    },
    log,
  );
}

function onWire({ digest, tocDigest, bytes, lastUsedMs, inUse }: CachedLayer) {
  return { digest, tocDigest, bytes: BigInt(bytes), lastUsedMs: BigInt(Math.round(lastUsedMs)), inUse };
}
