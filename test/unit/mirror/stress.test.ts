import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { silentLog } from '../../../src/log.ts';
import { BlobStore } from '../../../src/mirror/blob-store.ts';
import { mirrorMetrics } from '../../../src/mirror/metrics.ts';
import { Random } from '../../fuzz/random.ts';
import { FakeBlob } from '../../support/chunked-blob.ts';
import { faultSeed } from '../../support/faults.ts';

const blobBytes = 3 << 20;
const readers = 8;
const reads = 60;

/** A registry's blob whose answers break off now and then. */
class Unsteady extends FakeBlob {
  override readonly digest: `sha256:${string}`;

  constructor(bytes: Buffer, random: Random) {
    super(bytes, 20_000);
    this.digest = `sha256:${hash('sha256', bytes)}`;
    this.beforePiece = async () => {
      await setImmediate();
      if (random.below(200) === 0) throw new Error('The connection was lost');
    };
  }
}

test('SharedBlob gives readers of all kinds the right bytes or an error, whatever breaks off, is dropped or is not kept', async (t) => {
  const seed = faultSeed();
  t.diagnostic(`LAZYPULL_SEED=${seed}`);
  const random = new Random(seed, 0, 0);
  const root = await mkdtemp(join(tmpdir(), 'lazypull-mirror-'));
  let hasRoom = true;
  const room = { hasRoom: () => hasRoom, onGrowth() {} };
  const content = Buffer.from(Array.from({ length: blobBytes }, () => random.below(256)));
  const upstream = new Unsteady(content, random);
  const open = () => BlobStore.open(root, room, mirrorMetrics(), silentLog);
  let store = await open();
  t.after(() => rm(root, { recursive: true }));
  let [right, failed] = [0, 0];

  const readAsLayer = async (): Promise<void> => {
    const cuts = Array.from({ length: 2 + 2 * random.below(3) }, () => random.below(blobBytes)).toSorted(
      (a, b) => a - b,
    );
    const parts = cuts.flatMap((start, i) => (i % 2 === 0 ? { start, end: cuts[i + 1]! } : []));
    const got = parts.map((): Buffer[] => []);
    for await (const { part, data } of store.keep(upstream).ranges(parts)) got[part]!.push(data);
    for (const [i, { start, end }] of parts.entries()) {
      assert.ok(Buffer.concat(got[i]!).equals(content.subarray(start, end)), 'wrong bytes for a layer');
    }
  };
  const readAsClient = async (): Promise<void> => {
    using lease = await store.lease(upstream.digest);
    if (lease === undefined) return;
    const [start, end] = [random.below(blobBytes), random.below(blobBytes)].toSorted((a, b) => a - b) as [
      number,
      number,
    ];
    const gone = new AbortController();
    const leaves = random.below(10) === 0;
    let at = start;
    try {
      for await (const { data } of lease.blob.read(upstream, start, end, gone.signal)) {
        assert.ok(data.equals(content.subarray(at, at + data.length)), 'wrong bytes for a client');
        at += data.length;
        if (leaves) gone.abort(new Error('gone'));
      }
    } catch (error) {
      if (!gone.signal.aborted) throw error;
      return;
    }
    assert.equal(at, end);
    assert.ok(await lease.blob.isSound(), 'right bytes were thrown away');
  };
  const disturb = async (): Promise<void> => {
    hasRoom = random.below(4) > 0;
    const what = random.below(4);
    if (what === 0) await store.keep(upstream).distrust(performance.now());
    if (what === 1) await (await store.list())[0]?.remove();
    if (what === 2) {
      await store[Symbol.asyncDispose]();
      store = await open();
    }
  };
  const reader = async (): Promise<void> => {
    for (let i = 0; i < reads; i++) {
      const kind = random.below(20);
      try {
        if (kind === 0) await disturb();
        else if (kind < 10) await readAsLayer();
        else await readAsClient();
        right++;
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        assert.match(String(error), /connection was lost|The mirror ends|Aborted/);
        failed++;
      }
    }
  };
  await Promise.all(Array.from({ length: readers }, reader));
  await store[Symbol.asyncDispose]();
  assert.ok(right > failed && failed > 0, `${right} right, ${failed} failed`);
});
