import { Cache, type Layer } from '../gen/cache/v1/cache_pb.ts';
import type {
  CacheAccess,
  CachedLayer,
  ListedLayer,
  PruneOptions,
  VerifiedLayer,
} from '../layers/cache/cache-access.ts';
import { DaemonCalls } from './calls.ts';

/** The cache of a running daemon. */
export class CacheClient implements CacheAccess, Disposable {
  readonly #root: string;
  readonly #calls: DaemonCalls;

  /**
   * @param root the daemon's root: FailedPrecondition if it has another
   * @param address path of its socket
   */
  constructor(root: string, address: string) {
    this.#root = root;
    this.#calls = new DaemonCalls(address);
  }

  async *list(): AsyncGenerator<ListedLayer> {
    for await (const { layer, contentBytes, presentBytes } of this.#calls.stream(Cache.method.list, {
      root: this.#root,
    })) {
      yield { ...fromWire(layer), contentBytes: Number(contentBytes), presentBytes: Number(presentBytes) };
    }
  }

  async *prune({ unusedMs, keepBytes }: PruneOptions): AsyncGenerator<CachedLayer> {
    const request = { root: this.#root, unusedMs: BigInt(unusedMs), keepBytes: BigInt(keepBytes) };
    for await (const { layer } of this.#calls.stream(Cache.method.prune, request)) yield fromWire(layer);
  }

  async *verify(): AsyncGenerator<VerifiedLayer> {
    for await (const { layer, found } of this.#calls.stream(Cache.method.verify, { root: this.#root })) {
      yield {
        layer: fromWire(layer),
        found: found && { parts: Number(found.parts), damaged: Number(found.damaged) },
      };
    }
  }

  [Symbol.dispose](): void {
    this.#calls[Symbol.dispose]();
  }
}

function fromWire(layer: Layer | undefined): CachedLayer {
  const { digest = '', tocDigest = '', bytes = 0n, lastUsedMs = 0n, inUse = false } = layer ?? {};
  return { digest, tocDigest, bytes: Number(bytes), lastUsedMs: Number(lastUsedMs), inUse };
}
