import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type EntryType, type IndexEntry, plainEntry } from '../../../src/formats/layer-index.ts';
import { unpackedXattrs } from '../../../src/formats/xattrs.ts';

interface Row {
  type: EntryType;
  mode: number;
  name: string;
  value: string;
  after: Record<string, string> | null;
}

/** What containerd set on ext4: see main.go beside it. */
const rows = JSON.parse(
  readFileSync(new URL('../../oracles/xattrs/xattrs.json', import.meta.url), 'utf8'),
) as readonly Row[];

const plain = { ...plainEntry, path: 'f' };

test('unpackedXattrs has the attributes that containerd would have set, of each type and each namespace', () => {
  assert.ok(rows.length > 500);
  for (const { type, mode, name, value, after } of rows) {
    const text = Buffer.from(name, 'base64').toString('latin1');
    const entry = { ...plain, type, mode, xattrs: new Map([[text, Buffer.from(value, 'base64')]]) };
    const { xattrs } = unpackedXattrs(entry);
    const found = [...(xattrs ?? [])].map(([key, bytes]) => [
      Buffer.from(key, 'latin1').toString('base64'),
      asRead(key, Buffer.from(bytes)).toString('base64'),
    ]);
    // Overlayfs cannot copy up what cannot be read. Attributes that cannot be unpacked are left out.
    const expected = Object.entries(after ?? {}).filter(([, bytes]) => bytes !== 'unreadable');
    assert.deepEqual(found, expected, `${type} ${mode.toString(8)} ${text} ${value}`);
    assert.notEqual(xattrs?.size, 0);
  }
});

/** Linux shows root a capability of root's own namespace in the older form that says the same. */
function asRead(name: string, value: Buffer): Buffer {
  if (name !== 'security.capability' || value[3] !== 3 || value.readUInt32LE(20) !== 0) return value;
  return Buffer.concat([value.subarray(0, 3), Buffer.from([2]), value.subarray(4, 20)]);
}

test('unpackedXattrs leaves an entry without attributes as it is', () => {
  const entry: IndexEntry = { ...plain, type: 'reg' };
  assert.equal(unpackedXattrs(entry), entry);
});
