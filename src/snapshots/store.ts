import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { errnoOf, LazypullError } from '../errors.ts';
import { wallClockMicros } from './clock.ts';
import { type Filter, type Filters, matches } from './filters.ts';
import {
  checkLabels,
  remoteLabel,
  remoteLabelValue,
  sameLabels,
  splitLabels,
  targetLabel,
  updateLabels,
} from './labels.ts';
import type { Kind, Labels, SnapshotInfo, Usage } from './snapshot.ts';

/** A row. `remote` says that its content is a lazy layer; `usage` is undefined until it is known. */
export interface StoredSnapshot {
  readonly id: number;
  readonly info: SnapshotInfo;
  readonly remote: boolean;
  readonly usage: Usage | undefined;
}

/** A snapshot of a chain of parents. */
export interface Link {
  readonly id: number;
  readonly remote: boolean;
}

const SCHEMA_VERSION = 1;
const PAGE_ROWS = 100;
const MAX_NAME_LENGTH = 32 * 1024;
const MAX_TEMPORARY_LABELS = 4096;
const BUSY_MS = 10_000;

const schema = `
  CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('view', 'active', 'committed')),
    parent INTEGER REFERENCES snapshots (id),
    remote INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    inodes INTEGER,
    bytes INTEGER,
    labels TEXT NOT NULL,
    target TEXT GENERATED ALWAYS AS (labels ->> '$."${targetLabel}"') VIRTUAL
  ) STRICT;
  CREATE INDEX snapshots_parent ON snapshots (parent);
  CREATE INDEX snapshots_target ON snapshots (target) WHERE target IS NOT NULL;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

const selectRow = `
  SELECT s.id, s.name, s.kind, coalesce(p.name, '') AS parent, s.remote, s.created_us, s.updated_us, s.inodes, s.bytes, s.labels
  FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent`;

const selectChain = `
  WITH RECURSIVE chain (id, parent, remote, depth) AS (
    SELECT id, parent, remote, 0 FROM snapshots WHERE id = ?
    UNION ALL SELECT s.id, s.parent, s.remote, c.depth + 1 FROM chain c JOIN snapshots s ON s.id = c.parent
  ) SELECT id, remote FROM chain ORDER BY depth`;

/**
 * The records of one client's snapshots, in one SQLite file that this process alone has open. Every call is one transaction, and is on disk when it
 * returns. Only temporary labels (see `isTemporary`) are kept in memory: BuildKit changes them several times around every mount, inside its own write
 * transaction, and after a crash of this process nobody needs them.
 */
export class SnapshotStore implements Disposable {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #temporary = new Map<number, { labels: Labels; updatedMicros: number }>();
  #lastId: number;

  /** Opens or creates the store at `path`. Unavailable when another process has it open, FailedPrecondition when a newer lazypull wrote it. */
  constructor(path: string) {
    this.#path = path;
    this.#database = new DatabaseSync(path, { timeout: BUSY_MS });
    try {
      this.#exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
      const version = Number(this.#row('PRAGMA user_version')?.user_version);
      if (version > SCHEMA_VERSION) {
        throw new LazypullError(
          'FailedPrecondition',
          `Cannot read "${path}": it has schema ${version}, and this lazypull knows ${SCHEMA_VERSION}; use the newer lazypull`,
        );
      }
      if (version === 0) this.#transaction(() => this.#exec(schema));
      this.#lastId = Number(this.#row("SELECT max(seq) AS id FROM sqlite_sequence WHERE name = 'snapshots'")?.id ?? 0);
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  /** The number of a snapshot to be: never given before, and above what `reserveIds` took. */
  allocateId(): number {
    return ++this.#lastId;
  }

  /** Keeps the ids up to `highest` from being given: a directory of that name is there. */
  reserveIds(highest: number): void {
    this.#lastId = Math.max(this.#lastId, highest);
  }

  find(name: string): StoredSnapshot | undefined {
    const row = this.#row(`${selectRow} WHERE s.name = ?`, name);
    return row && this.#snapshotOf(row);
  }

  /** As `find`; NotFound. */
  get(name: string): StoredSnapshot {
    const found = this.find(name);
    if (!found) throw new LazypullError('NotFound', `Cannot find snapshot "${shown(name)}"`);
    return found;
  }

  /** The chain that starts with the snapshot `id`, nearest first. */
  chain(id: number): readonly Link[] {
    return this.#rows(selectChain, id).map((row) => ({ id: Number(row.id), remote: row.remote === 1 }));
  }

  /** The chain of the parents of a snapshot to be; empty without a parent. Errors as `create`, the parent's first. */
  parentChain(key: string, parent: string): readonly Link[] {
    checkName(key);
    const found = parent === '' ? undefined : this.find(parent);
    if (parent !== '' && !found) throw new LazypullError('NotFound', `Cannot find the parent "${shown(parent)}"`);
    if (found && found.info.kind !== 'committed') {
      throw new LazypullError('InvalidArgument', `The parent "${shown(parent)}" is not a committed snapshot`);
    }
    if (this.#idOf(key) !== undefined)
      throw new LazypullError('AlreadyExists', `Cannot create snapshot "${shown(key)}"`);
    return found ? this.chain(found.id) : [];
  }

  /**
   * Adds a snapshot and gives the chain of its parents. A remote one is a committed snapshot from the start and gets the remote label. AlreadyExists for
   * the name; NotFound or InvalidArgument for the parent.
   */
  create(snapshot: {
    id: number;
    name: string;
    kind: Kind;
    parent: string;
    labels: Labels;
    remote: boolean;
  }): readonly Link[] {
    const { id, name, kind, parent, remote } = snapshot;
    checkLabels(snapshot.labels);
    const { durable, temporary } = splitLabels(
      remote ? { ...snapshot.labels, [remoteLabel]: remoteLabelValue } : snapshot.labels,
    );
    const now = wallClockMicros();
    const parents = this.#transaction(() => {
      const chain = this.parentChain(name, parent);
      this.#run(
        'INSERT INTO snapshots (id, name, kind, parent, remote, created_us, updated_us, inodes, bytes, labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
        id,
        name,
        kind,
        chain[0]?.id ?? null,
        remote ? 1 : 0,
        now,
        now,
        remote ? 0 : null,
        remote ? 0 : null,
        JSON.stringify(durable),
      );
      return chain;
    });
    this.#setTemporary(id, temporary, now);
    return parents;
  }

  /**
   * Makes the active snapshot `key` the committed snapshot `name` with these labels. Errors in containerd's order: NotFound for the key, AlreadyExists
   * for the name, FailedPrecondition when it is not active, InvalidArgument for a change of parent, NotFound or FailedPrecondition for the parent.
   */
  commit(name: string, key: string, parent: string, labels: Labels): void {
    checkName(name);
    checkLabels(labels);
    const { durable, temporary } = splitLabels(labels);
    const now = wallClockMicros();
    const id = this.#transaction(() => {
      const active = this.get(key);
      if (this.#idOf(name) !== undefined) {
        throw new LazypullError('AlreadyExists', `Cannot commit "${shown(key)}" as "${shown(name)}"`);
      }
      if (active.info.kind !== 'active') {
        throw new LazypullError('FailedPrecondition', `Cannot commit "${shown(key)}": it is not active`);
      }
      const parentId = this.#rebase(active, parent);
      this.#run(
        "UPDATE snapshots SET name = ?, kind = 'committed', parent = ?, created_us = ?, updated_us = ?, labels = ? WHERE id = ?",
        name,
        parentId,
        now,
        now,
        JSON.stringify(durable),
        active.id,
      );
      return active.id;
    });
    this.#setTemporary(id, temporary, now);
  }

  #rebase({ info }: StoredSnapshot, wanted: string): number | null {
    const parent = info.parent || wanted;
    if (wanted !== '' && wanted !== parent) {
      throw new LazypullError('InvalidArgument', `Cannot change the parent of "${shown(info.name)}" on commit`);
    }
    if (parent === '') return null;
    const { id, info: parentInfo } = this.get(parent);
    if (parentInfo.kind !== 'committed') {
      throw new LazypullError('FailedPrecondition', `The parent "${shown(parent)}" is not committed`);
    }
    return id;
  }

  /** Forgets a snapshot and gives what it was. NotFound; FailedPrecondition while it has children. */
  remove(name: string): StoredSnapshot {
    const removed = this.#transaction(() => {
      const snapshot = this.get(name);
      if (this.#row('SELECT 1 AS found FROM snapshots WHERE parent = ? LIMIT 1', snapshot.id)) {
        throw new LazypullError('FailedPrecondition', `Cannot remove snapshot "${shown(name)}" with child`);
      }
      this.#run('DELETE FROM snapshots WHERE id = ?', snapshot.id);
      return snapshot;
    });
    this.#temporary.delete(removed.id);
    return removed;
  }

  /** Changes labels as `updateLabels` says, and gives the new state. Writes to disk only when a label changes that must survive. */
  update(name: string, given: Labels, paths: readonly string[]): SnapshotInfo {
    const { id, info } = this.get(name);
    const before = splitLabels(info.labels);
    const updated = updateLabels(info.labels, given, paths);
    checkLabels(updated);
    const after = splitLabels(updated);
    const now = wallClockMicros();
    if (!sameLabels(before.durable, after.durable)) {
      this.#run('UPDATE snapshots SET labels = ?, updated_us = ? WHERE id = ?', JSON.stringify(after.durable), now, id);
    }
    this.#setTemporary(id, after.temporary, now);
    return this.get(name).info;
  }

  /** Keeps what a committed snapshot takes on disk. */
  setUsage(id: number, { inodes, bytes }: Usage): void {
    this.#run('UPDATE snapshots SET inodes = ?, bytes = ? WHERE id = ?', inodes, bytes, id);
  }

  /**
   * The snapshots that any of the filters matches, oldest first. Read in pages, so that a slow reader holds no transaction; a snapshot that is there from the
   * first to the last page comes exactly once. Filters that ask for a name, a parent or a target are looked up, not searched for.
   */
  *list(filters: Filters): Generator<StoredSnapshot> {
    const lookups = filters.filters.map(lookupOf);
    if (lookups.length > 0 && lookups.every((lookup) => lookup !== undefined)) {
      const rows = lookups.flatMap(({ condition, value }) => this.#rows(`${selectRow} WHERE ${condition}`, value));
      const found = new Map(rows.map((row) => [Number(row.id), row]));
      for (const [, row] of [...found].sort(([a], [b]) => a - b)) {
        const snapshot = this.#snapshotOf(row);
        if (matches(filters, snapshot.info)) yield snapshot;
      }
      return;
    }
    for (let last = 0; ; ) {
      const rows = this.#rows(`${selectRow} WHERE s.id > ? ORDER BY s.id LIMIT ${PAGE_ROWS}`, last);
      for (const row of rows) {
        last = Number(row.id);
        const snapshot = this.#snapshotOf(row);
        if (matches(filters, snapshot.info)) yield snapshot;
      }
      if (rows.length < PAGE_ROWS) return;
    }
  }

  /** How many snapshots of a kind there are. */
  count(kind: Kind): number {
    return Number(this.#row('SELECT count(*) AS count FROM snapshots WHERE kind = ?', kind)?.['count'] ?? 0);
  }

  /** The ids of all snapshots. */
  ids(): ReadonlySet<number> {
    return new Set(this.#rows('SELECT id FROM snapshots').map((row) => Number(row.id)));
  }

  /** The lazy layers, oldest first. */
  remotes(): readonly StoredSnapshot[] {
    return this.#rows(`${selectRow} WHERE s.remote = 1 ORDER BY s.id`).map((row) => this.#snapshotOf(row));
  }

  close(): void {
    this.#statements.clear();
    if (this.#database.isOpen) this.#database.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #idOf(name: string): number | undefined {
    const id = this.#row('SELECT id FROM snapshots WHERE name = ?', name)?.id;
    return id === undefined ? undefined : Number(id);
  }

  #setTemporary(id: number, labels: Labels, updatedMicros: number): void {
    const kept = Object.entries(labels).slice(-MAX_TEMPORARY_LABELS);
    if (kept.length === 0 && !this.#temporary.has(id)) return;
    this.#temporary.set(id, { labels: Object.fromEntries(kept), updatedMicros });
  }

  #snapshotOf(row: Row): StoredSnapshot {
    const id = Number(row.id);
    const temporary = this.#temporary.get(id);
    const labels = JSON.parse(String(row.labels)) as Labels;
    return {
      id,
      remote: row.remote === 1,
      usage: row.inodes === null ? undefined : { inodes: Number(row.inodes), bytes: Number(row.bytes) },
      info: {
        name: String(row.name),
        parent: String(row.parent),
        kind: row.kind as Kind,
        createdMicros: Number(row.created_us),
        updatedMicros: Math.max(Number(row.updated_us), temporary?.updatedMicros ?? 0),
        labels: temporary
          ? Object.fromEntries([...Object.entries(labels), ...Object.entries(temporary.labels)])
          : labels,
      },
    };
  }

  #transaction<T>(body: () => T): T {
    this.#exec('BEGIN IMMEDIATE');
    try {
      const result = body();
      this.#exec('COMMIT');
      return result;
    } catch (error) {
      if (this.#database.isTransaction) this.#exec('ROLLBACK');
      throw error;
    }
  }

  #row(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#named(() => this.#prepare(sql).get(...values));
  }

  #rows(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#named(() => this.#prepare(sql).all(...values));
  }

  #run(sql: string, ...values: SQLInputValue[]): void {
    this.#named(() => this.#prepare(sql).run(...values));
  }

  #exec(sql: string): void {
    this.#named(() => this.#database.exec(sql));
  }

  /** SQLite says what is wrong, and not with which file. */
  #named<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      if (errnoOf(cause) !== 'ERR_SQLITE_ERROR') throw cause;
      throw new LazypullError(
        'Unavailable',
        `Cannot use "${this.#path}"; make sure that its disk works and has space, and that no other daemon uses it`,
        { cause },
      );
    }
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

type Row = Record<string, unknown>;

function lookupOf(filter: Filter): { condition: string; value: string } | undefined {
  for (const selector of filter) {
    if (selector.operator !== '==') continue;
    const [field, ...rest] = selector.path;
    const { value } = selector;
    if (field === 'name') return { condition: 's.name = ?', value };
    if (field === 'labels' && rest.join('.') === targetLabel) return { condition: 's.target = ?', value };
    if (field === 'parent' && value !== '') {
      return { condition: 's.parent = (SELECT id FROM snapshots WHERE name = ?)', value };
    }
  }
  return undefined;
}

function checkName(name: string): void {
  if (name === '') throw new LazypullError('InvalidArgument', 'A snapshot needs a name');
  if (name.length > MAX_NAME_LENGTH) {
    throw new LazypullError('InvalidArgument', `The name of a snapshot has at most ${MAX_NAME_LENGTH} characters`);
  }
}

function shown(name: string): string {
  return name.length > 256 ? `${name.slice(0, 256)}…` : name;
}
