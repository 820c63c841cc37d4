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

test('GzipPool fails the batches of a thread that ends, and gives later ones to another thread', async () => {
  await using pool = new GzipPool(6, 1);
  const member = randomBytes(1000);
  const batch = () => ({ data: new Uint8Array(member), ends: [member.length] });
  const broken = pool.compress({ ...batch(), ends: 1 as never }); // which the thread cannot work on
  const behind = pool.compress(batch());
  const failures = await Promise.allSettled([broken, behind]);
  for (const { status } of failures) assert.equal(status, 'rejected');
  const { data } = await pool.compress(batch());
  assert.deepEqual(gunzipSync(data), member);
});
