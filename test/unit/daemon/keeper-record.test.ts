import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRecord } from '../../../src/daemon/keeper-record.ts';

const socket = { fd: 4, path: '/run/lp.sock', device: 26, inode: 2 ** 40 };
const record = {
  version: 1,
  boot: 'b',
  directory: '1:2',
  keeper: { pid: 5, startTicks: 6 },
  fuse: { name: 'lazypull-0123456789abcdef', fd: 3, root: 6, wasAttached: false, answerWithinMs: 0 },
  socket,
  moreSockets: [{ ...socket, fd: 5 }],
};

test('parseRecord reads what any version has written', () => {
  assert.deepEqual(parseRecord(JSON.stringify(record)), record);
  const { directory: _, moreSockets: __, socket: ___, ...rest } = record;
  const old = parseRecord(JSON.stringify({ ...rest, fuse: { name: record.fuse.name, fd: 3 } }));
  assert.deepEqual(old.keeper, record.keeper);
  assert.deepEqual([old.fuse.root, old.socket, old.moreSockets], [undefined, undefined, []]);
});

/** What each member cannot be; if `isOptional`, it can be missing. */
const members: { path: string[]; values: unknown[]; isOptional?: boolean }[] = [
  { path: ['version'], values: [0, 2, '1', true] },
  { path: ['boot'], values: [1, true] },
  { path: ['directory'], values: [12, true], isOptional: true },
  { path: ['keeper'], values: [1, '5', true] },
  // A signal to process 0 or -1 is one to many.
  { path: ['keeper', 'pid'], values: [-1, 0, 1.5, 2 ** 22 + 1, -(2 ** 31), '5', 'self', '../1', true] },
  { path: ['keeper', 'startTicks'], values: [-1, 0.5, 1e300, '6', true] },
  { path: ['fuse'], values: [3, '/dev/fuse'] },
  {
    path: ['fuse', 'name'],
    values: ['', 'x', '../lazypull-0123456789abcdef', 'lazypull-0123456789abcdef.', 'lazypull-0123456789ABCDEF', 7],
  },
  { path: ['fuse', 'fd'], values: [-1, -100, 1.5, 2 ** 31, 2 ** 32 + 3, 1e300, '3', true] },
  { path: ['fuse', 'root'], values: [-1, -100, 1.5, 2 ** 32 + 3, '6', true], isOptional: true },
  { path: ['fuse', 'wasAttached'], values: [0, 1, 'yes'], isOptional: true },
  { path: ['fuse', 'answerWithinMs'], values: [-1, 0.5, 2 ** 31, '1', true], isOptional: true },
  { path: ['socket'], values: [4, '/run/lp.sock'], isOptional: true },
  { path: ['socket', 'fd'], values: [-1, 2 ** 31, '4'] },
  { path: ['socket', 'path'], values: [4, true] },
  { path: ['socket', 'device'], values: ['26', true] },
  { path: ['socket', 'inode'], values: ['2', true] },
  {
    path: ['moreSockets'],
    values: ['abc', 5, { length: 1 }, Array(10_000).fill(socket), [null], [[]], ['x'], [{}]],
    isOptional: true,
  },
];

for (const { path, values, isOptional = false } of members) {
  test(`parseRecord refuses a ${path.join('.')} that no version has written`, () => {
    const others = [null, [], {}, ...values, ...(isOptional ? [] : [undefined])];
    for (const value of path.at(-1) === 'moreSockets'
      ? others.filter((each) => !Array.isArray(each) || each.length > 0)
      : others) {
      const changed = structuredClone(record) as Record<string, unknown>;
      const [first = '', second] = path;
      if (second === undefined) changed[first] = value;
      else (changed[first] as Record<string, unknown>)[second] = value;
      assert.throws(() => parseRecord(JSON.stringify(changed)), { code: 'DataLoss' }, JSON.stringify(value));
    }
  });
}

test('parseRecord refuses a text that is no record', () => {
  for (const text of ['', '{', 'null', '[]', '1', '"x"', '{}', '\0'.repeat(512), JSON.stringify([record])]) {
    assert.throws(() => parseRecord(text), { code: 'DataLoss' }, text);
  }
});
