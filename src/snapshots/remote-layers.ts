import type { LayerOrigin } from '../layers/layer-origin.ts';
import type { LayerRef } from '../layers/resolve/layer-ref.ts';
import type { Refusal } from '../layers/resolve/refusal.ts';
import type { Usage } from './snapshot.ts';

/** What the files of a lazy layer take on disk. */
export interface LayerUsage extends Usage {
  /** What they take once the whole layer is here. */
  readonly mostBytes: number;
}

/** What became of a lazy layer that a client asked for. */
export interface RemoteOutcome {
  /** Whether the snapshot is there. If not, the client fetches and unpacks the layer. */
  readonly isReady: boolean;
  /** How the layer is read, if it was mounted now. */
  readonly origin?: LayerOrigin;
  /** Why it is not lazy, or cannot be read for the time being. */
  readonly refusal?: Refusal | undefined;
}

/** What the snapshotter needs of the rooms below it; `layers/` implements it. */
export interface RemoteLayers {
  /** The layer that `labels` name, or why they name none. Waits for nothing. */
  resolve(labels: Readonly<Record<string, string>>): LayerRef | Refusal;

  /** Why such a layer is left to its client, whatever is in it; undefined if it is not. Waits for nothing. */
  refusalOf(layer: LayerRef): Refusal | undefined;

  /**
   * Makes a layer readable at `mountpoint`: an empty directory, or a path in a directory of its own that does not exist
   * yet. If the layer cannot be lazy, it rejects with the reason, and nothing is mounted there.
   *
   * @param signal aborts when no caller waits any more: then it rejects with the signal's reason
   * @returns how the layer is read
   */
  mount(mountpoint: string, layer: LayerRef, signal?: AbortSignal): Promise<LayerOrigin>;

  /**
   * As `mount`, for a layer that an earlier life of the program mounted there, and without the network. A mount that is
   * left and still good stays; any other is unmounted. If the layer cannot be read from the files on disk, it rejects
   * with the reason.
   */
  restore(mountpoint: string, layer: LayerRef): Promise<void>;

  /**
   * Rejects with the reason unless the layer at `mountpoint` looks the same in an overlay as if it had been unpacked
   * there.
   *
   * @param lower the content directories of the layers below it, nearest first: mount points of others, or what a
   * client unpacked
   */
  checkStacking(mountpoint: string, lower: readonly string[]): Promise<void>;

  /**
   * Rejects with `Unavailable` and the reason unless a layer is mounted at `mountpoint` and can be read. Never uses the
   * network.
   */
  check(mountpoint: string): Promise<void>;

  /**
   * The present and the maximum usage of the layer that is mounted at `mountpoint`, or should be. All 0 if there is
   * none.
   */
  usage(mountpoint: string): Promise<LayerUsage>;

  /** Unmounts what `mount` or a dead process mounted at `mountpoint`. Resolves when nothing is mounted there. */
  unmount(mountpoint: string): Promise<void>;
}
