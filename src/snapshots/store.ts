import { setImmediate } from 'node:timers/promises';
import { LazypullError } from '../errors.ts';
import { remoteLabel, remoteLabelValue, targetLabel } from '../label-names.ts';
import { BufferPressure } from '../util/buffer-pressure.ts';
import { wallClockMicros } from './clock.ts';
import { Database, type Row } from './database.ts';
import { askForLabels, type Filter, type Filters, matches } from './filters.ts';
import { checkLabels, labelBytes, sameLabels, splitLabels, updateLabels } from './labels.ts';
import type { Kind, Labels, SnapshotInfo, Usage } from './snapshot.ts';

/** A row of the store. `remote` says that its content is a lazy layer; `usage` is undefined until it is known. */
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

const PAGE_ROWS = 100;
const MAX_NAME_LENGTH = 32 * 1024;
const MAX_TEMPORARY_LABELS = 4096;

/** Labels up to this length are read together with many other rows; longer ones are read one row at a time. */
const SHORT_LABELS_BYTES = 16 * 1024;

/** How long a list may keep all other calls waiting. */
const MAX_BUSY_MS = 5;

const fields = `s.id, s.name, s.kind, coalesce(p.name, '') AS parent, s.remote, s.created_us, s.updated_us, s.inodes, s.bytes`;
const tables = 'snapshots s LEFT JOIN snapshots p ON p.id = s.parent';
const selectRow = `SELECT ${fields}, s.labels FROM ${tables}`;

/** As `selectRow`, for many rows: long labels are NULL. */
const selectRows = `
  SELECT ${fields}, CASE WHEN octet_length(s.labels) <= ${SHORT_LABELS_BYTES} THEN s.labels END AS labels FROM ${tables}`;

const selectChain = `
  WITH RECURSIVE chain (id, parent, remote, depth) AS (
    SELECT id, parent, remote, 0 FROM snapshots WHERE id = ?
    UNION ALL SELECT s.id, s.parent, s.remote, c.depth + 1 FROM chain c JOIN snapshots s ON s.id = c.parent
  ) SELECT id, remote FROM chain ORDER BY depth`;

/**
 * The records of one client's snapshots, in one SQLite file that only this process has open. Every call is one
 * transaction, and is on disk when it returns. Only temporary labels (see `isTemporary`) are kept in memory. BuildKit
 * changes them several times around every mount, inside its own write transaction, and they are not needed after a
 * crash of this process.
 */
export class SnapshotStore implements Disposable {
  readonly #database: Database;
  /** Long labels are as short-lived as buffers. A collection in one go takes less time than it takes to read them. */
  readonly #pressure = new BufferPressure();
  readonly #temporary = new Map<number, { labels: Labels; updatedMicros: number }>();
  /** Removed snapshots whose directories are gone. */
  #gone: number[] = [];
  #lastId: number;

  /** Opens or creates the store at `path`. Throws as `Database`. */
  constructor(path: string) {
    this.#database = new Database(path);
    this.#lastId = Number(
      this.#database.row("SELECT max(seq) AS id FROM sqlite_sequence WHERE name = 'snapshots'")?.id ?? 0,
    );
  }

  /** The number for a new snapshot: it was never given before, and is above what `reserveIds` took. */
  allocateId(): number {
    return ++this.#lastId;
  }

  /** Reserves all ids up to `highest`: a directory of that name exists. */
  reserveIds(highest: number): void {
    this.#lastId = Math.max(this.#lastId, highest);
  }

  find(name: string): StoredSnapshot | undefined {
    const row = this.#database.row(`${selectRow} WHERE s.name = ?`, name);
    return row && this.#snapshotOf(row);
  }

  findById(id: number): StoredSnapshot | undefined {
    const row = this.#database.row(`${selectRow} WHERE s.id = ?`, id);
    return row && this.#snapshotOf(row);
  }

  /** As `find`, but throws NotFound. */
  get(name: string): StoredSnapshot {
    const found = this.find(name);
    if (!found) throw new LazypullError('NotFound', `Cannot find snapshot "${shown(name)}"`);
    return found;
  }

  /** The chain that starts with the snapshot `id`, nearest first. */
  chain(id: number): readonly Link[] {
    return this.#database.rows(selectChain, id).map((row) => ({ id: Number(row.id), remote: row.remote === 1 }));
  }

  /**
   * The chain of the parents of a new snapshot; empty without a parent. Throws as `create`, the parent's errors first.
   */
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
   * Adds a snapshot and returns the chain of its parents. A remote snapshot is committed from the start and gets the
   * remote label. Throws AlreadyExists for the name; NotFound or InvalidArgument for the parent.
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
    const parents = this.#database.transaction(() => {
      const chain = this.parentChain(name, parent);
      this.#database.run(
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
   * Makes the active snapshot `key` the committed snapshot `name` with these labels. Throws in containerd's order:
   * NotFound for the key, AlreadyExists for the name, FailedPrecondition if it is not active, InvalidArgument for a
   * change of parent, NotFound or FailedPrecondition for the parent.
   */
  commit(name: string, key: string, parent: string, labels: Labels): void {
    checkName(name);
    checkLabels(labels);
    const { durable, temporary } = splitLabels(labels);
    const now = wallClockMicros();
    const id = this.#database.transaction(() => {
      const active = this.get(key);
      if (this.#idOf(name) !== undefined) {
        throw new LazypullError('AlreadyExists', `Cannot commit "${shown(key)}" as "${shown(name)}"`);
      }
      if (active.info.kind !== 'active') {
        throw new LazypullError('FailedPrecondition', `Cannot commit "${shown(key)}": it is not active`);
      }
      const parentId = this.#rebase(active, parent);
      this.#database.run(
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

  /**
   * Removes a snapshot and returns it. The store remembers that its directory must be removed. Throws NotFound;
   * FailedPrecondition while it has children.
   */
  remove(name: string): StoredSnapshot {
    const gone = this.#gone;
    const removed = this.#database.transaction(() => {
      const snapshot = this.get(name);
      if (this.#database.row('SELECT 1 AS found FROM snapshots WHERE parent = ? LIMIT 1', snapshot.id)) {
        throw new LazypullError('FailedPrecondition', `Cannot remove snapshot "${shown(name)}" with child`);
      }
      this.#database.run('DELETE FROM snapshots WHERE id = ?', snapshot.id);
      this.#database.run('INSERT INTO removed (id) VALUES (?)', snapshot.id);
      for (const id of gone) this.#database.run('DELETE FROM removed WHERE id = ?', id);
      return snapshot;
    });
    this.#gone = this.#gone.slice(gone.length);
    this.#temporary.delete(removed.id);
    return removed;
  }

  /** The removed snapshots whose directories may still be there. */
  removedIds(): ReadonlySet<number> {
    return new Set(this.#database.rows('SELECT id FROM removed').map((row) => Number(row.id)));
  }

  /**
   * Notes that the directory of a removed snapshot is gone. The note is written with the next removal: until then it
   * costs nothing.
   */
  noteGone(id: number): void {
    this.#gone.push(id);
  }

  /**
   * Changes labels as `updateLabels` says, and returns the new state. Writes to disk only if a label changes that must
   * survive.
   */
  update(name: string, given: Labels, paths: readonly string[]): SnapshotInfo {
    const { id, info } = this.get(name);
    const before = splitLabels(info.labels);
    const updated = updateLabels(info.labels, given, paths);
    checkLabels(updated);
    const after = splitLabels(updated);
    const now = wallClockMicros();
    if (!sameLabels(before.durable, after.durable)) {
      const labels = JSON.stringify(after.durable);
      this.#change('UPDATE snapshots SET labels = ?, updated_us = ? WHERE id = ?', labels, now, id);
    }
    this.#setTemporary(id, after.temporary, now);
    return this.get(name).info;
  }

  /** Stores the disk usage of a committed snapshot. */
  setUsage(id: number, { inodes, bytes }: Usage): void {
    this.#change('UPDATE snapshots SET inodes = ?, bytes = ? WHERE id = ?', inodes, bytes, id);
  }

  /**
   * The snapshots that match any of the filters, oldest first. They are read in pages, so that a slow reader holds no
   * transaction. A snapshot that is there from the first to the last page comes exactly once. Filters that ask for a
   * name, a parent or a target are looked up, not searched for. Other calls have a turn every few milliseconds, and
   * after each row with long labels.
   */
  async *list(filters: Filters): AsyncGenerator<StoredSnapshot> {
    let sinceMs = performance.now();
    for (const row of this.#candidates(filters)) {
      const snapshot = this.#matching(row, filters);
      if (snapshot !== undefined) yield snapshot;
      if (performance.now() - sinceMs < MAX_BUSY_MS) continue;
      await setImmediate();
      sinceMs = performance.now();
    }
  }

  /** Rows without long labels: all that match and possibly others, each of them once. */
  *#candidates(filters: Filters): Generator<Row> {
    const lookups = filters.filters.map(lookupOf);
    if (lookups.length > 0 && lookups.every((lookup) => lookup !== undefined)) {
      const rows = lookups.flatMap(({ condition, value }) =>
        this.#database.rows(`${selectRows} WHERE ${condition}`, value),
      );
      const found = new Map(rows.map((row) => [Number(row.id), row]));
      for (const [, row] of [...found].sort(([a], [b]) => a - b)) yield row;
      return;
    }
    for (let last = 0; ; ) {
      const rows = this.#database.rows(`${selectRows} WHERE s.id > ? ORDER BY s.id LIMIT ${PAGE_ROWS}`, last);
      for (const row of rows) {
        last = Number(row.id);
        yield row;
      }
      if (rows.length < PAGE_ROWS) return;
    }
  }

  #matching(row: Row, filters: Filters): StoredSnapshot | undefined {
    const snapshot = this.#snapshotOf(row);
    if (row.labels !== null) return matches(filters, snapshot.info) ? snapshot : undefined;
    if (!askForLabels(filters) && !matches(filters, snapshot.info)) return undefined;
    const whole = this.findById(snapshot.id);
    if (whole !== undefined) this.#pressure.released(labelBytes(whole.info.labels));
    return whole !== undefined && matches(filters, whole.info) ? whole : undefined;
  }

  /** How many snapshots of a kind there are. */
  count(kind: Kind): number {
    return Number(this.#database.row('SELECT count(*) AS count FROM snapshots WHERE kind = ?', kind)?.['count'] ?? 0);
  }

  /** The ids of all snapshots. */
  ids(): ReadonlySet<number> {
    return new Set(this.#database.rows('SELECT id FROM snapshots').map((row) => Number(row.id)));
  }

  /** The lazy layers, oldest first. */
  remotes(): readonly StoredSnapshot[] {
    return this.#database.rows(`${selectRows} WHERE s.remote = 1 ORDER BY s.id`).map((row) => this.#snapshotOf(row));
  }

  close(): void {
    this.#database.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #change(sql: string, ...values: (string | number)[]): void {
    this.#database.transaction(() => this.#database.run(sql, ...values));
  }

  #idOf(name: string): number | undefined {
    const id = this.#database.row('SELECT id FROM snapshots WHERE name = ?', name)?.id;
    return id === undefined ? undefined : Number(id);
  }

  #setTemporary(id: number, labels: Labels, updatedMicros: number): void {
    const kept = Object.entries(labels).slice(-MAX_TEMPORARY_LABELS);
    if (kept.length === 0 && !this.#temporary.has(id)) return;
    this.#temporary.set(id, { labels: Object.fromEntries(kept), updatedMicros });
  }

  /** If the row does not have its labels, they are read whenever they are asked for. */
  #snapshotOf(row: Row): StoredSnapshot {
    const id = Number(row.id);
    const temporary = this.#temporary.get(id);
    const labelsOf = (text: unknown): Labels => {
      const labels = JSON.parse(String(text)) as Labels;
      return temporary ? Object.fromEntries([...Object.entries(labels), ...Object.entries(temporary.labels)]) : labels;
    };
    const labels = row.labels === null ? undefined : labelsOf(row.labels);
    const readLabels = () =>
      labelsOf(this.#database.row('SELECT labels FROM snapshots WHERE id = ?', id)?.['labels'] ?? '{}');
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
        get labels() {
          return labels ?? readLabels();
        },
      },
    };
  }
}

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
