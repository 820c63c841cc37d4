import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseFilters } from '../../../src/snapshots/filters.ts';
import { warmUpCalls } from '../../../src/snapshots/call-warm-up.ts';
import { SnapshotStore } from '../../../src/snapshots/store.ts';

test('warmUpCalls makes calls that succeed, and stops if it is told to', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'lp-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const warmedUp = async (goesOn: () => boolean) => {
    await warmUpCalls(directory, goesOn);
    using store = new SnapshotStore(join(directory, 'snapshotter', 'snapshots.db'));
    const kept = (await Array.fromAsync(store.list(parseFilters([])))).map(({ info, usage }) => [
      info.name,
      info.kind,
      info.labels['x'],
      usage !== undefined,
    ]);
    rmSync(join(directory, 'snapshotter'), { recursive: true });
    rmSync(join(directory, 'socket'));
    return kept;
  };
  assert.deepEqual(await warmedUp(() => true), [
    ['lazy', 'active', undefined, false],
    ['layer', 'committed', 'y', true],
  ]);
  let asked = 0;
  assert.deepEqual(await warmedUp(() => ++asked <= 2), [['lazy', 'active', undefined, false]]);
});
