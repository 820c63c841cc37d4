/** What a snapshot is: a `view` and an `active` one can be mounted, a `committed` one can be a parent. */
export type Kind = 'view' | 'active' | 'committed';

export type Labels = Readonly<Record<string, string>>;

/**
 * What a client sees of a snapshot. Times are microseconds since 1970; `parent` is the empty string if there is none.
 */
export interface SnapshotInfo {
  readonly name: string;
  readonly parent: string;
  readonly kind: Kind;
  readonly createdMicros: number;
  readonly updatedMicros: number;
  readonly labels: Labels;
}

/** What a snapshot takes on disk, without its parents. */
export interface Usage {
  readonly inodes: number;
  readonly bytes: number;
}

/** A mount as mount(2) takes it, with the options in fstab's words. */
export interface Mount {
  readonly type: 'bind' | 'overlay';
  readonly source: string;
  readonly options: readonly string[];
}

/**
 * containerd's snapshotter interface (core/snapshots/snapshotter.go). `key` names a snapshot of any kind; errors are
 * LazypullError with the classes that containerd's own snapshotters use.
 */
export interface Snapshots {
  /** NotFound. */
  stat(key: string): SnapshotInfo;

  /**
   * Changes labels and gives the new state. `paths` as in a field mask: `labels`, `labels.<key>`, none for all of them;
   * a label that is absent from `labels` or empty there is deleted. NotFound; InvalidArgument for any other path.
   */
  update(name: string, labels: Labels, paths: readonly string[]): SnapshotInfo;

  /**
   * NotFound. `namespace` is containerd's, for which the client asks: a lazy layer is more to a client that keeps the
   * answer.
   */
  usage(key: string, namespace?: string): Promise<Usage>;

  /** NotFound; FailedPrecondition for a committed snapshot; Unavailable when a lazy layer below it cannot be read. */
  mounts(key: string): Promise<readonly Mount[]>;

  /**
   * Makes an active snapshot. With the label `containerd.io/snapshot.ref` it first tries to commit a lazy layer under
   * that name, and says so with AlreadyExists. NotFound and InvalidArgument for a parent that is absent or not
   * committed; AlreadyExists for `key`; Unavailable as in `mounts`.
   *
   * @param signal aborts when the caller gives up: then it rejects with the signal's reason, and no snapshot is made
   */
  prepare(key: string, parent: string, labels: Labels, signal?: AbortSignal): Promise<readonly Mount[]>;

  /** Makes a read-only snapshot; errors as `prepare`. */
  view(key: string, parent: string, labels: Labels): Promise<readonly Mount[]>;

  /**
   * Turns the active snapshot `key` into the committed snapshot `name`, with `labels` instead of its own. `parent` may
   * name the parent of a snapshot that has none, and is empty otherwise. NotFound, AlreadyExists, FailedPrecondition;
   * InvalidArgument for another parent.
   */
  commit(name: string, key: string, parent: string, labels: Labels): void;

  /** Forgets a snapshot. Its directory goes later. NotFound; FailedPrecondition while it has children. */
  remove(key: string): void;

  /**
   * The snapshots that any of `filters` matches, all of them without filters. InvalidArgument before the first one for
   * a filter that does not parse.
   */
  list(filters: readonly string[]): AsyncIterable<SnapshotInfo>;

  /** Removes the directories that no snapshot needs any more. */
  cleanup(): Promise<void>;
}
