import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { GzipPool } from '../../../src/convert/gzip-pool.ts';

test('GzipPool ends its threads after the batches that they have', async () => {
  const pool = new GzipPool(6, 2);
  const members = Array.from({ length: 8 }, () => randomBytes(100_000));
  const batches = members.map((member) => pool.compress({ data: new Uint8Array(member), ends: [member.length] }));
  await pool[Symbol.asyncDispose]();
  for (const [i, { data }] of (await Promise.all(batches)).entries()) assert.deepEqual(gunzipSync(data), members[i]);
});
