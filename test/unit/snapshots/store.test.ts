import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, describe, it } from 'node:test';
import { type ErrorCode, codeOf } from '../../../src/errors.ts';
import { matches, parseFilters } from '../../../src/snapshots/filters.ts';
import type { Kind, Labels } from '../../../src/snapshots/snapshot.ts';
import { SnapshotStore } from '../../../src/snapshots/store.ts';
import fc from '../../support/properties.ts';

const temporary = 'containerd.io/snapshot/remote/stargz.session.0.f5lxx1zz5pnorynqglhzmsp33';

describe('the store', () => {
  it('keeps what it answered when it is opened again, but for temporary labels', (t) => {
    const path = databasePath(t);
    const before = new SnapshotStore(path);
    const first = add(before, 'a', { labels: { x: '1', '': 'empty key', [temporary]: 's' } });
    before.commit('c', 'a', '', { y: '2', none: '' });
    before.create({ id: before.allocateId(), name: 'r', kind: 'committed', parent: 'c', labels: {}, remote: true });
    before.update('c', { [temporary]: 's', z: '3' }, [`labels.${temporary}`, 'labels.z']);
    assert.deepEqual(before.get('c').info.labels, { y: '2', z: '3', [temporary]: 's' });
    const info = before.get('c').info;
    before.close();
    before.close();

    using after = new SnapshotStore(path);
    assert.equal(after.get('c').id, first);
    const again = after.get('c').info;
    assert.deepEqual({ ...info, labels: { y: '2', z: '3' } }, again);
    assert.deepEqual(after.get('r').info.labels, { 'containerd.io/snapshot/remote': 'remote snapshot' });
    assert.deepEqual(after.get('r').usage, { inodes: 0, bytes: 0 });
    assert.ok(after.allocateId() > after.get('r').id);
  });

  it('names the file that the disk does not give back', (t) => {
    const path = databasePath(t);
    using store = new SnapshotStore(path);
    const long = 'x'.repeat(4000); // more of them than SQLite keeps in memory
    for (let i = 0; i < 1500; i++) add(store, `s${i}`, { labels: { long } });
    for (const file of [path, `${path}-wal`]) truncateSync(file);
    const isNamed = (error: unknown) => codeOf(error) === 'DataLoss' && String(error).includes(`"${path}"`);
    assert.throws(() => {
      for (let i = 0; i < 1500; i++) store.get(`s${i}`);
    }, isNamed);
  });

  it('never gives an id twice', (t) => {
    const path = databasePath(t);
    const before = new SnapshotStore(path);
    add(before, 'a');
    const last = add(before, 'b');
    before.remove('b');
    before.close();
    using after = new SnapshotStore(path);
    assert.equal(after.allocateId(), last + 1);
    after.reserveIds(100);
    after.reserveIds(50);
    assert.equal(after.allocateId(), 101);
  });

  it('opens after a power cut that tore the end of what was written last, and has what came before', (t) => {
    const path = databasePath(t);
    using store = new SnapshotStore(path);
    const create = (name: string) =>
      store.create({ id: store.allocateId(), name, kind: 'active', parent: '', labels: {}, remote: false });
    for (let i = 0; i < 20; i++) create(`before-${i}`);
    const sound = statSync(`${path}-wal`).size;
    create('last');
    const wal = readFileSync(`${path}-wal`);
    const torn = Buffer.from(wal);
    torn.fill(0x5a, sound + 100);
    for (const [i, content] of [wal.subarray(0, sound + 50), wal.subarray(0, wal.length - 1), torn].entries()) {
      const copy = `${path}-${i}`;
      copyFileSync(path, copy);
      writeFileSync(`${copy}-wal`, content);
      using opened = new SnapshotStore(copy);
      assert.equal(opened.ids().size, 20);
      opened.create({ id: opened.allocateId(), name: 'next', kind: 'active', parent: '', labels: {}, remote: false });
    }
  });

  it('belongs to one process', (t) => {
    const path = databasePath(t);
    using _store = new SnapshotStore(path);
    const other = new DatabaseSync(path);
    assert.throws(() => other.exec('SELECT * FROM snapshots'), /locked/);
    other.close();
  });

  it('refuses what a newer version wrote', (t) => {
    const path = databasePath(t);
    const newer = new DatabaseSync(path);
    newer.exec('PRAGMA user_version = 99');
    newer.close();
    throwsCode('FailedPrecondition', () => new SnapshotStore(path));
  });

  it('does not write to disk for temporary labels', (t) => {
    const path = databasePath(t);
    using store = new SnapshotStore(path);
    add(store, 'a', { labels: { keep: '1' } });
    const created = store.get('a').info.updatedMicros;
    const written = () => statSync(`${path}-wal`).size;
    const before = written();
    const updated = store.update('a', { [temporary]: 's' }, [`labels.${temporary}`]);
    assert.ok(updated.updatedMicros > created);
    assert.deepEqual(updated.labels, { keep: '1', [temporary]: 's' });
    const removed = store.update('a', {}, [`labels.${temporary}`]);
    assert.deepEqual(removed.labels, { keep: '1' });
    assert.ok(removed.updatedMicros >= updated.updatedMicros);
    assert.equal(written(), before);
    store.update('a', { keep: '2' }, ['labels.keep']);
    assert.ok(written() > before);
  });

  it('holds chains of any length', (t) => {
    using store = new SnapshotStore(databasePath(t));
    for (let i = 1; i <= 500; i++) {
      add(store, `a${i}`, { parent: i > 1 ? `c${i - 1}` : '' });
      store.commit(`c${i}`, `a${i}`, '', {});
    }
    const chain = store.chain(store.get('c500').id);
    assert.deepEqual(
      chain.map(({ id }) => id),
      Array.from({ length: 500 }, (_, i) => 500 - i),
    );
  });

  it('takes odd names', (t) => {
    using store = new SnapshotStore(databasePath(t));
    for (const name of ["';--", 'ä€𝄞', 'a\0b', 'a\nb', ' ', '%_', 'x'.repeat(32 * 1024)]) {
      add(store, name, { labels: { [name]: name } });
      const { info } = store.get(name);
      assert.equal(info.name, name);
      assert.deepEqual(info.labels, { [name]: name });
    }
    throwsCode('InvalidArgument', () => add(store, ''));
    throwsCode('InvalidArgument', () => add(store, 'x'.repeat(32 * 1024 + 1)));
  });

  it('answers the classes that containerd answers', async (t) => {
    using store = new SnapshotStore(databasePath(t));
    add(store, 'active');
    add(store, 'other');
    add(store, 'toCommit');
    add(store, 'view', { kind: 'view' });
    store.commit('committed', 'toCommit', '', {});
    add(store, 'child', { parent: 'committed' });
    for (const [code, call] of [
      ['NotFound', () => store.get('absent')],
      ['NotFound', () => store.update('absent', {}, [])],
      ['InvalidArgument', () => store.update('active', {}, ['parent'])],
      ['AlreadyExists', () => add(store, 'active')],
      ['AlreadyExists', () => add(store, 'committed')],
      ['NotFound', () => add(store, 'x', { parent: 'absent' })],
      ['InvalidArgument', () => add(store, 'x', { parent: 'active' })],
      ['NotFound', () => store.commit('x', 'absent', '', {})],
      ['AlreadyExists', () => store.commit('committed', 'active', '', {})],
      ['AlreadyExists', () => store.commit('active', 'active', '', {})],
      ['FailedPrecondition', () => store.commit('x', 'view', '', {})],
      ['FailedPrecondition', () => store.commit('x', 'committed', '', {})],
      ['InvalidArgument', () => store.commit('x', 'child', 'other', {})],
      ['NotFound', () => store.commit('x', 'active', 'absent', {})],
      ['FailedPrecondition', () => store.commit('x', 'active', 'other', {})],
      ['InvalidArgument', () => store.commit('', 'active', '', {})],
      ['NotFound', () => store.remove('absent')],
      ['FailedPrecondition', () => store.remove('committed')],
    ] as const) {
      throwsCode(code, call);
    }
    assert.deepEqual(
      (await Array.fromAsync(store.list(parseFilters([])))).map(({ info }) => info.name),
      ['active', 'other', 'committed', 'view', 'child'],
    );
    store.commit('rebased', 'active', 'committed', {});
    assert.equal(store.get('rebased').info.parent, 'committed');
    store.commit('same', 'child', 'committed', {});
    throwsCode('FailedPrecondition', () => store.remove('committed'));
  });

  it('finds by index what it finds by search', async (t) => {
    using store = new SnapshotStore(databasePath(t));
    for (let i = 0; i < 250; i++) {
      const labels = i % 3 === 0 ? { 'containerd.io/snapshot.ref': `t${i % 7}`, n: String(i % 2) } : { n: '2' };
      add(store, `a${i}`, { parent: i % 5 === 0 || i < 10 ? '' : `c${(i % 5) + 1}`, labels });
      if (i % 2 === 0 || i < 10) store.commit(`c${i}`, `a${i}`, '', labels);
    }
    const selector = fc.oneof(
      fc.integer({ min: 0, max: 7 }).map((n) => `labels."containerd.io/snapshot.ref"==t${n}`),
      fc.integer({ min: 0, max: 260 }).map((n) => `name==c${n}`),
      fc.integer({ min: 0, max: 7 }).map((n) => `parent==c${n}`),
      fc.constantFrom('parent==""', 'kind==active', 'labels.n==1', 'labels.n!=2', 'name~=c1', 'parent'),
    );
    const filter = fc.array(selector, { minLength: 1, maxLength: 3 }).map((selectors) => selectors.join(','));
    await fc.assert(
      fc.asyncProperty(fc.array(filter, { maxLength: 3 }), async (texts) => {
        const filters = parseFilters(texts);
        const expected = (await Array.fromAsync(store.list(parseFilters([]))))
          .filter(({ info }) => matches(filters, info))
          .map(({ id }) => id);
        assert.deepEqual(
          (await Array.fromAsync(store.list(filters))).map(({ id }) => id),
          expected,
        );
      }),
      { numRuns: 200 },
    );
  });

  it('lists each snapshot once while others come and go', async (t) => {
    using store = new SnapshotStore(databasePath(t));
    for (let i = 0; i < 300; i++) add(store, `a${i}`);
    const seen = new Map<number, string>();
    for await (const { id, info } of store.list(parseFilters([]))) {
      assert.ok(!seen.has(id));
      seen.set(id, info.name);
      if (seen.size === 50) {
        store.remove('a10');
        store.remove('a290');
        store.commit('c20', 'a20', '', {});
        store.commit('c280', 'a280', '', {});
      }
      if (seen.size % 50 === 0 && seen.size < 300) add(store, `new${seen.size}`);
    }
    const names = new Set(seen.values());
    assert.ok(names.has('c280') && !names.has('a290') && names.has('a299') && names.has('a10'));
  });
});

function databasePath(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'store-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, 'snapshots.db');
}

function add(store: SnapshotStore, name: string, more: { kind?: Kind; parent?: string; labels?: Labels } = {}): number {
  const id = store.allocateId();
  store.create({ id, name, kind: 'active', parent: '', labels: {}, remote: false, ...more });
  return id;
}

function throwsCode(code: ErrorCode, call: () => unknown): void {
  assert.throws(call, (error) => codeOf(error) === code, `${call.toString()} does not throw ${code}`);
}
