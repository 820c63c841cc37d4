import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { errnoOf, LazypullError } from '../errors.ts';
import { Generation } from './generation.ts';
import { targetLabel } from '../label-names.ts';
import { idsIn } from './snapshot-id.ts';

export type Row = Record<string, unknown>;

const schemaVersion = 1;
const busyMs = 10_000;

/** A database up to this size is checked whole at every start. A larger one would take too long. */
const maxCheckedBytes = 64 << 20;

/** Result codes of SQLite (the lower eight bits) that mean that the content of the file makes no sense. */
const damageCodes = new Set([1 /* ERROR: no such table */, 11 /* CORRUPT */, 26 /* NOTADB */]);

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
  PRAGMA user_version = ${schemaVersion};
`;

/**
 * Tables that came later, which an older lazypull does not look at: snapshots whose directory must be
 * removed, and the number of the last change.
 */
const additions = `
  CREATE TABLE IF NOT EXISTS removed (id INTEGER PRIMARY KEY) STRICT;
  CREATE TABLE IF NOT EXISTS generation (number INTEGER NOT NULL) STRICT;
  INSERT INTO generation SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM generation);
`;

/**
 * An SQLite file of one client's snapshots that only this process has open. Each transaction is on disk when it
 * returns. A file that has lost its content is never taken for a new one, nor for a complete one.
 */
export class Database implements Disposable {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #written: Generation | undefined;
  #generation = 0;

  /**
   * Opens the database at `path`. Makes it if no snapshot has a directory in `snapshots` beside it.
   *
   * @throws Unavailable if another process has it open, or its disk fails; DataLoss with how to go on if it is missing,
   * empty or damaged, or has lost changes; FailedPrecondition if another program or a newer lazypull wrote it
   */
  constructor(path: string) {
    checkThere(path);
    this.#path = path;
    this.#database = new DatabaseSync(path, { timeout: busyMs });
    try {
      this.#open();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Runs `body` in a transaction, and returns its result. */
  transaction<T>(body: () => T): T {
    this.#exec('BEGIN IMMEDIATE');
    let result: T;
    try {
      result = body();
      this.run('UPDATE generation SET number = ?', this.#generation + 1);
      this.#exec('COMMIT');
    } catch (error) {
      if (this.#database.isTransaction) this.#exec('ROLLBACK');
      throw error;
    }
    this.#written?.write(++this.#generation);
    return result;
  }

  row(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#named(() => this.#prepare(sql).get(...values));
  }

  rows(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#named(() => this.#prepare(sql).all(...values));
  }

  /** Changes rows, within a transaction. */
  run(sql: string, ...values: SQLInputValue[]): void {
    this.#named(() => this.#prepare(sql).run(...values));
  }

  close(): void {
    this.#statements.clear();
    if (this.#database.isOpen) this.#database.close();
    this.#written?.[Symbol.dispose]();
    this.#written = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #open(): void {
    this.#exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
    const version = Number(this.row('PRAGMA user_version')?.user_version);
    if (version > schemaVersion) {
      throw new LazypullError(
        'FailedPrecondition',
        `Cannot read "${this.#path}": it has schema ${version}, and this lazypull knows ${schemaVersion}`,
        { hint: 'use the newer lazypull' },
      );
    }
    const isNew = version === 0;
    if (isNew) this.#checkNew();
    else this.#check();
    if (!isNew) this.#checkNumberThere();
    const generation = new Generation(generationPath(this.#path));
    this.#written = generation;
    this.#exec('BEGIN IMMEDIATE');
    if (isNew) this.#exec(schema);
    if (isNew || !this.#hasAdditions()) this.#exec(additions);
    this.#exec('COMMIT');
    this.#generation = this.#number();
    const written = isNew ? 0 : generation.read();
    if (written > this.#generation) {
      const missing = written - this.#generation;
      throw this.#lacking(
        `lacks the last ${missing === 1 ? 'change' : `${missing} changes`}, because its "-wal" file was removed or damaged, or because it is an older copy`,
      );
    }
    generation.write(this.#generation);
  }

  /** A missing number is as suspicious as a missing log: a program that removed one may have removed both. */
  #checkNumberThere(): void {
    if (this.#number() === 0 || existsSync(generationPath(this.#path))) return;
    if (idsIn(directoriesBeside(this.#path)).size === 0) return;
    throw this.#lacking('may lack changes, as the file that tells their number is missing');
  }

  /** The number of the last change that the database has; 0 if it is of a version that does not count changes. */
  #number(): number {
    return this.#hasAdditions() ? Number(this.row('SELECT number FROM generation')?.number ?? 0) : 0;
  }

  #lacking(what: string): LazypullError {
    const file = generationPath(this.#path);
    return new LazypullError(
      'DataLoss',
      `Cannot use "${this.#path}": it ${what}; restore it with its "-wal" and "-generation" files from one backup; or make "${file}" an empty file to go on with what is left: then snapshots may be missing or come back, and directories without a snapshot stay`,
    );
  }

  #hasAdditions(): boolean {
    return this.row("SELECT 1 FROM sqlite_schema WHERE name = 'generation'") !== undefined;
  }

  #checkNew(): void {
    if (this.row('SELECT 1 FROM sqlite_schema LIMIT 1') !== undefined) {
      throw new LazypullError(
        'FailedPrecondition',
        `Cannot use "${this.#path}": another program wrote it; move it away, or choose another root`,
      );
    }
    if (idsIn(directoriesBeside(this.#path)).size > 0) throw lost(this.#path, 'has no records');
  }

  #check(): void {
    if (statSync(this.#path).size > maxCheckedBytes) return;
    const result = String(this.row('PRAGMA quick_check(1)')?.quick_check);
    if (result !== 'ok') throw damaged(this.#path, new Error(result));
  }

  #exec(sql: string): void {
    this.#named(() => this.#database.exec(sql));
  }

  /** Runs an action and adds the path of the file to its errors, which SQLite does not name. */
  #named<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      if (errnoOf(cause) !== 'ERR_SQLITE_ERROR') throw cause;
      if (damageCodes.has(Number((cause as { errcode?: number }).errcode) & 0xff)) throw damaged(this.#path, cause);
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

/**
 * Makes sure that the files of a database are files, and that a missing or empty one is not made again beside the
 * directories of snapshots. SQLite would delete the write-ahead log of an empty database, so this comes before it is
 * opened.
 *
 * @throws DataLoss with how to go on
 */
export function checkThere(path: string): void {
  for (const file of [path, `${path}-wal`, `${path}-journal`, generationPath(path)]) checkFile(path, file);
  const bytes = statSync(path, { throwIfNoEntry: false })?.size;
  if ((bytes ?? 0) > 0 || idsIn(directoriesBeside(path)).size === 0) return;
  throw lost(path, bytes === undefined ? 'is missing' : 'is empty');
}

/** SQLite waits for ever at a pipe, and says nothing of use about a directory. */
function checkFile(path: string, file: string): void {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined || found.isFile()) return;
  const what = found.isDirectory() ? 'a directory' : found.isFIFO() ? 'a named pipe' : 'a device or a socket';
  const afterThat = file === generationPath(path) ? 'make an empty file in its place' : restoreIt(path);
  throw new LazypullError(
    'DataLoss',
    `Cannot use "${path}": "${file}" is ${what} and no file; move it away, and ${afterThat}`,
  );
}

function lost(path: string, what: string): LazypullError {
  const directories = directoriesBeside(path);
  const count = idsIn(directories).size;
  const number = count === 1 ? 'the directory of 1 snapshot is' : `the directories of ${count} snapshots are`;
  return new LazypullError(
    'DataLoss',
    `Cannot use "${path}": it ${what}, and ${number} in "${directories}"; ${restoreIt(path)}`,
  );
}

function damaged(path: string, cause: unknown): LazypullError {
  return new LazypullError('DataLoss', `Cannot use "${path}": it is damaged; ${restoreIt(path)}`, { cause });
}

function restoreIt(path: string): string {
  return `restore it and its "-wal" file from a backup, or move "${dirname(path)}" away to begin without snapshots, and let the client forget its images and builds`;
}

function directoriesBeside(path: string): string {
  return join(dirname(path), 'snapshots');
}

function generationPath(path: string): string {
  return `${path}-generation`;
}
