/**
 * What a running daemon tells: its state, its cache, and what became of layers. One half runs in the daemon
 * (`service.ts`, `cache-service.ts`), the other in commands that ask it (`client.ts`, `cache-client.ts`).
 *
 * Begin with the shapes in this file; `why.ts` brings together what a registry and a daemon say of an image.
 */

import type { LayerStatus } from '../layers/layer-status.ts';
import type { PrepareOutcome } from '../snapshots/prepare-history.ts';
import type { ClientProcess } from '../snapshots/store-owner.ts';

/** A layer that is mounted, and the names of the clients that have it so. */
export interface MountedLayer extends LayerStatus {
  readonly clients: readonly string[];
}

/** The clients that a daemon serves. */
export interface ClientStatus {
  readonly name: string;
  /** Path of its socket. */
  readonly address: string;
  /** The process that uses the socket; undefined if none does, or none that can be named. */
  readonly process: ClientProcess | undefined;
  /** Another one that was refused, because that one uses it. */
  readonly refused: ClientProcess | undefined;
}

/** What a daemon is doing. */
export interface DaemonStatus {
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  readonly layers: readonly MountedLayer[];
  /** The first one first; none if an older daemon answers. */
  readonly clients: readonly ClientStatus[];
  readonly cache: { readonly bytes: number; readonly layers: number };
  /** Undefined if it serves none. */
  readonly mirror: MirrorStatus | undefined;
  /** What keeps it from serving as it should, a sentence each; none if it is well. */
  readonly problems: readonly string[];
}

/** Where a daemon's mirror is, and what is kept for it: how many blobs, and their disk space in bytes. */
export interface MirrorStatus {
  readonly address: string;
  readonly blobs: number;
  readonly bytes: number;
}

/** What the status service asks: a daemon. */
export interface StatusSource {
  status(): Promise<DaemonStatus>;
  /** What became of the layers with these digests, or of all, the latest last. */
  outcomes(digests: readonly string[]): readonly PrepareOutcome[];
}
