import { Status, type Use } from '../gen/status/v1/status_pb.ts';
import { type LayerHow, layerHows } from '../layers/layer-origin.ts';
import { fetchReasons } from '../layers/metrics.ts';
import { type LayerUse, nothingFetched } from '../layers/uses/layer-use.ts';
import { stripBytes } from '../layers/uses/read-strip.ts';
import { type RefusalReason, refusalReasons } from '../layers/resolve/refusal.ts';
import type { PrepareOutcome } from '../snapshots/prepare-history.ts';
import { DaemonCalls } from './calls.ts';
import type { DaemonStatus, UsesStatus } from './status.ts';

/** Asks a running daemon what it is doing. */
export class StatusClient implements Disposable {
  readonly #calls: DaemonCalls;

  /** @param address path of the daemon's socket */
  constructor(address: string) {
    this.#calls = new DaemonCalls(address);
  }

  /** @throws Unavailable, with what to do, if no daemon answers */
  async status(): Promise<DaemonStatus> {
    const answer = await this.#calls.unary(Status.method.get, {});
    const { version, startedMs, layers, clients, cache, mirror, problems } = answer;
    return {
      version,
      startedMs: Number(startedMs),
      layers: layers.map((layer) => ({
        digest: layer.digest,
        references: layer.references,
        mounts: layer.mounts,
        bytesPerSecond: layer.bytesPerSecond,
        waiting: layer.waiting,
        mountedMs: Number(layer.mountedMs),
        blobBytes: Number(layer.blobBytes),
        contentBytes: Number(layer.contentBytes),
        presentBytes: Number(layer.presentBytes),
        fetchedBytes: Number(layer.fetchedBytes),
        errors: Number(layer.errors),
        clients: layer.clients,
        pulling: layer.pulling,
      })),
      clients: clients.map(({ name, address, process, refused }) => ({
        name,
        address,
        process: process && { pid: process.pid, command: process.command },
        refused: refused && { pid: refused.pid, command: refused.command },
      })),
      cache: { bytes: Number(cache?.bytes ?? 0), layers: cache?.layers ?? 0 },
      mirror: mirror && { address: mirror.address, blobs: mirror.blobs, bytes: Number(mirror.bytes) },
      problems,
    };
  }

  /**
   * The outcomes of Prepare for the layers with these digests, or for all that the daemon remembers; the latest comes
   * last.
   */
  async outcomes(digests: readonly string[] = []): Promise<PrepareOutcome[]> {
    const { outcomes } = await this.#calls.unary(Status.method.outcomes, { digests: [...digests] });
    return outcomes.map(({ reference, digest, atMs, reason, message, how, howText }) => ({
      reference,
      digest,
      atMs: Number(atMs),
      reason: reason === '' ? undefined : knownReason(reason),
      message,
      how: knownHow(how),
      howText,
    }));
  }

  /** What layers did on the daemon's machine, the last uses that it knows. */
  async uses(): Promise<UsesStatus> {
    const { sinceMs, uses } = await this.#calls.unary(Status.method.uses, {});
    return {
      sinceMs: Number(sinceMs),
      uses: uses.map(useOf),
    };
  }

  [Symbol.dispose](): void {
    this.#calls[Symbol.dispose]();
  }
}

function useOf(wire: Use): LayerUse {
  const { digest, references, howText, waitedMs, longestWaitMs, isLeft, isWhole, strip } = wire;
  return {
    digest,
    references,
    startedMs: Number(wire.startedMs),
    endedMs: wire.endedMs === 0n ? undefined : Number(wire.endedMs),
    how: knownHow(wire.how) ?? 'kept',
    howText,
    blobBytes: Number(wire.blobBytes),
    isLeft,
    isWhole,
    contentBytes: Number(wire.contentBytes),
    presentBytes: Number(wire.presentBytes),
    readBytes: Number(wire.readBytes),
    fetched: fetchedOf(wire.fetched),
    waits: Number(wire.waits),
    waitedMs,
    longestWaitMs,
    errors: Number(wire.errors),
    strip: strip.length === stripBytes ? new Uint8Array(strip) : undefined,
  };
}

/** Bytes by the reasons that this version knows. */
function fetchedOf(wire: Readonly<Record<string, bigint>>): LayerUse['fetched'] {
  const fetched = { ...nothingFetched };
  for (const reason of fetchReasons) fetched[reason] = Number(wire[reason] ?? 0n);
  return fetched;
}

function knownHow(text: string): LayerHow | undefined {
  return layerHows.find((how) => how === text);
}

/** There is no advice for a reason that only a newer daemon knows. */
function knownReason(text: string): RefusalReason {
  return refusalReasons.find((reason) => reason === text) ?? 'other';
}
