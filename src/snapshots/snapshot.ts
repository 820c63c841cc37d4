/** What a snapshot is: a `view` and an `active` one can be mounted, a `committed` one can be a parent. */
export type Kind = 'view' | 'active' | 'committed';

export type Labels = Readonly<Record<string, string>>;

/** A snapshot as a client sees it. Times are microseconds since 1970; `parent` is the empty string if there is none. */
export interface SnapshotInfo {
  readonly name: string;
  readonly parent: string;
  readonly kind: Kind;
  readonly createdMicros: number;
  readonly updatedMicros: number;
  readonly labels: Labels;
}

/** The disk usage of a snapshot, without its parents. */
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

/** What a Prepare came to: an active snapshot, or the name of the committed one that the client asked for. */
export type Prepared = { readonly mounts: readonly Mount[] } | { readonly ready: string };

/** What a call comes with besides its message. */
export interface Caller {
  /** Aborts when the caller gives up: then the call rejects with its reason, and no snapshot is made. */
  readonly signal?: AbortSignal;
  /** The caller's span, as in the header of that name; '' if it has none. */
  readonly traceparent?: string;
}

/**
 * containerd's snapshotter interface (core/snapshots/snapshotter.go). `key` names a snapshot of any kind. Errors are
 * LazypullErrors with the classes that containerd's own snapshotters use.
 */
export interface Snapshots {
  /** Throws NotFound. */
  stat(key: string): SnapshotInfo;

  /**
   * Changes labels and returns the new state. `paths` is a field mask: `labels`, `labels.<key>`, or none for all of
   * them. A label that is absent from `labels` or empty there is deleted. Throws NotFound; InvalidArgument for any
   * other path.
   */
  update(name: string, labels: Labels, paths: readonly string[]): SnapshotInfo;

  /**
   * `namespace` is the one of containerd that the client asks for: if the client keeps the answer, a lazy layer counts
   * with its full size. Throws NotFound.
   */
  usage(key: string, namespace?: string): Promise<Usage>;

  /**
   * Throws NotFound; FailedPrecondition for a committed snapshot; Unavailable if a lazy layer below it cannot be read.
   */
  mounts(key: string): Promise<readonly Mount[]>;

  /**
   * Makes an active snapshot. With the label `containerd.io/snapshot.ref` it first tries to commit a lazy layer under
   * that name, and tells whether that snapshot is there then. Throws NotFound or InvalidArgument if the parent is
   * absent or not committed; AlreadyExists for `key`; Unavailable as `mounts`.
   */
  prepare(key: string, parent: string, labels: Labels, caller?: Caller): Promise<Prepared>;

  /** Makes a read-only snapshot. Throws as `prepare`. */
  view(key: string, parent: string, labels: Labels): Promise<readonly Mount[]>;

  /**
   * Turns the active snapshot `key` into the committed snapshot `name`, with `labels` in place of its own. `parent` may
   * name a parent for a snapshot that has none, and is empty otherwise. Throws NotFound, AlreadyExists,
   * FailedPrecondition; InvalidArgument for another parent.
   */
  commit(name: string, key: string, parent: string, labels: Labels): void;

  /** Removes a snapshot. Its directory goes later. Throws NotFound; FailedPrecondition while it has children. */
  remove(key: string): void;

  /**
   * The snapshots that match any of `filters`; without filters, all of them. If a filter does not parse, it throws
   * InvalidArgument before the first snapshot.
   */
  list(filters: readonly string[]): AsyncIterable<SnapshotInfo>;

  /** Removes the directories that no snapshot needs any more. */
  cleanup(): Promise<void>;
}
