import type { LayerOrigin } from '../layers/layer-origin.ts';
import type { Usage } from './snapshot.ts';

/** What the files of a lazy layer take on disk. */
export interface LayerUsage extends Usage {
  /** What they take once the whole layer is here. */
  readonly mostBytes: number;
}

/** What the snapshotter needs of the rooms below it; `layers/` implements it. */
export interface RemoteLayers {
  /**
   * Throws the reason if `labels` alone show that the layer cannot be lazy, with which `mount` would reject. Waits for
   * nothing.
   */
  checkLabels(labels: Readonly<Record<string, string>>): void;

  /**
   * Makes the layer that `labels` name readable at `mountpoint`: an empty directory, or a path in a directory of its
   * own that does not exist yet. If the layer cannot be lazy, it rejects with the reason, and nothing is mounted there.
   *
   * @param signal aborts when no caller waits any more: then it rejects with the signal's reason
   * @returns how the layer is read
   */
  mount(mountpoint: string, labels: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<LayerOrigin>;

  /**
   * As `mount`, for a layer that an earlier life of the program mounted there, and without the network. A mount that is
   * left and still good stays; any other is unmounted. If the layer cannot be read from the files on disk, it rejects
   * with the reason.
   */
  restore(mountpoint: string, labels: Readonly<Record<string, string>>): Promise<void>;

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
