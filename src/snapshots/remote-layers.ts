import type { LayerOrigin } from '../layers/layer-origin.ts';
import type { Usage } from './snapshot.ts';

/** What the files of a lazy layer take on disk. */
export interface LayerUsage extends Usage {
  /** What they take once all of the layer is here. */
  readonly mostBytes: number;
}

/** What the snapshotter needs of the rooms below it; `layers/` implements it. */
export interface RemoteLayers {
  /**
   * Throws the reason if `labels` alone say that the layer cannot be lazy: `mount` would reject with it. Waits for
   * nothing.
   */
  checkLabels(labels: Readonly<Record<string, string>>): void;

  /**
   * Makes the layer that `labels` name readable at `mountpoint`, an empty directory or none in a directory of its own.
   * Rejects with the reason when the layer cannot be lazy; nothing is mounted there then.
   *
   * @param signal aborts when no caller waits any more: then it rejects with the signal's reason
   * @returns how the layer is read
   */
  mount(mountpoint: string, labels: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<LayerOrigin>;

  /**
   * As `mount`, for a layer that an earlier life of the program mounted there, and without the network: what it left
   * mounted stays if it is still good, and is taken away if it is not. Rejects with the reason when the layer cannot be
   * made readable from what is on the disk.
   */
  restore(mountpoint: string, labels: Readonly<Record<string, string>>): Promise<void>;

  /**
   * Rejects with the reason unless the layer that was mounted at `mountpoint` looks in an overlay as it would when it
   * had been unpacked there.
   *
   * @param lower the content directories of the layers below it, nearest first: mount points of others, or what a
   * client unpacked
   */
  checkStacking(mountpoint: string, lower: readonly string[]): Promise<void>;

  /**
   * Rejects with `Unavailable` and the reason unless a layer is mounted at `mountpoint` and can be read. Never touches
   * the network.
   */
  check(mountpoint: string): Promise<void>;

  /**
   * What the files of the layer that is mounted at `mountpoint`, or should be, take now and at most. All 0 if there is
   * none.
   */
  usage(mountpoint: string): Promise<LayerUsage>;

  /** Unmounts what `mount` mounted, or what a dead process left, at `mountpoint`. Resolves when there is nothing. */
  unmount(mountpoint: string): Promise<void>;
}
