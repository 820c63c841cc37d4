/**
 * What a running daemon tells: its state, its cache, and the outcomes of Prepare. One half runs in the daemon
 * (`status-service.ts`, `cache-service.ts`), the other in commands that ask it (`status-client.ts`, `cache-client.ts`).
 *
 * Begin with the shapes in this file. `why.ts` combines what a registry and a daemon know about an image.
 */

import type { LayerStatus } from '../layers/layer-status.ts';
import type { LayerUse } from '../layers/uses/layer-use.ts';
import type { PrepareOutcome } from '../snapshots/prepare-history.ts';
import type { ClientProcess } from '../snapshots/store-owner.ts';

/** A mounted layer, and the names of the clients that have mounted it. */
export interface MountedLayer extends LayerStatus {
  readonly clients: readonly string[];
}

/** A client that a daemon serves. */
export interface ClientStatus {
  readonly name: string;
  /** Path of its socket. */
  readonly address: string;
  /** The process that uses the socket; undefined if none does, or if it cannot be named. */
  readonly process: ClientProcess | undefined;
  /** Another process that was refused, because the first one uses it. */
  readonly refused: ClientProcess | undefined;
}

/** The state of a daemon. */
export interface DaemonStatus {
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  readonly layers: readonly MountedLayer[];
  /** The first client comes first; none if an older daemon answers. */
  readonly clients: readonly ClientStatus[];
  readonly cache: { readonly bytes: number; readonly layers: number };
  /** Undefined if it serves none. */
  readonly mirror: MirrorStatus | undefined;
  /** What keeps it from serving as it should, a sentence each; none if it is well. */
  readonly problems: readonly string[];
}

/** The address of a daemon's mirror, and what it keeps: the number of blobs, and their disk space in bytes. */
export interface MirrorStatus {
  readonly address: string;
  readonly blobs: number;
  readonly bytes: number;
}

/** The uses of layers that a daemon remembers, and since when, in milliseconds since 1970. */
export interface UsesStatus {
  readonly sinceMs: number;
  readonly uses: readonly LayerUse[];
}

/** The source of the status service: a daemon. */
export interface StatusSource {
  status(): Promise<DaemonStatus>;
  /** The outcomes of Prepare for the layers with these digests, or for all, the latest last. */
  outcomes(digests: readonly string[]): readonly PrepareOutcome[];
  /** What layers did, the last uses of them. */
  uses(): Promise<UsesStatus>;
}
