import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LazypullError, messageOf } from '../../../src/errors.ts';
import type { Blob } from '../../../src/registry/blob/blob.ts';
import { RegistryClient } from '../../../src/registry/client.ts';
import { parseReference } from '../../../src/registry/reference.ts';
import { Random } from '../../fuzz/random.ts';
import { faultSeed, faultsToMake, makeFault } from '../../support/faults.ts';
import { type RegistryOptions, startRegistry, type TestRegistry } from '../../support/registry.ts';
import { knownUser } from '../../support/known-user.ts';
import { testTls } from '../../support/tls.ts';

const size = 400_000;
const faultsPerWorld = 100;
const readers = 6;
const worldsAtOnce = 10;
const maxTriesToHeal = 3;

/** Far longer than the policy below gives any read, also on a machine that is busy with other things. */
const hangMs = 120_000;

function anyOptions(random: Random): RegistryOptions {
  return {
    auth: random.pick(['none', 'basic', 'token']),
    users: { me: 'secret' },
    redirect: random.below(2) === 0,
    suffixRanges: random.pick(['serve', 'serve', 'refuse', 'ignore']),
    severalRanges: random.pick(['serve', 'serve', 'refuse', 'ignore']),
    tokenSeconds: random.pick([2, 300]),
    ...(random.below(3) === 0 ? { tls: testTls } : {}),
  };
}

/**
 * A registry with or without a mirror in front of it, which answer in ways that only the seed knows, and a client that
 * is soon tired of them.
 */
async function openWorld(random: Random) {
  const bytes = randomBytes(size);
  const servers: TestRegistry[] = [];
  for (let i = 1 + random.below(2); i > 0; i--) servers.push(await startRegistry(anyOptions(random)));
  const [origin] = servers;
  const urls = servers.map(({ host, options }) => ({ host: `${options.tls ? 'https' : 'http'}://${host}` }));
  const client = new RegistryClient({
    hosts: { host: { [origin!.host]: { mirrors: urls.toReversed() } } },
    credentials: [knownUser({ username: 'me', password: 'secret' })],
    certificates: [testTls.cert],
    retry: { tries: 4, minDelayMs: 1, maxDelayMs: 8, totalMs: 5_000, minBytesPerSecond: 1e6 },
    timeouts: { connectMs: 1_000, headersMs: 200, bodyIdleMs: 200, patienceMs: 60 },
    environment: {},
  });
  const digests = servers.map((server) => server.addBlob(bytes));
  const blob = client.blob(parseReference(`${origin!.host}/app`), digests[0]!);
  return {
    bytes,
    servers,
    blob,
    async [Symbol.asyncDispose]() {
      await client.close();
      for (const server of servers) await server.close();
    },
  };
}

/** One read of a kind and a place that the numbers choose. Throws AssertionError for wrong bytes. */
async function readSome(blob: Blob, bytes: Buffer, random: Random): Promise<void> {
  const places = Array.from({ length: 6 }, () => random.below(size)).toSorted((a, b) => a - b);
  const kind = random.below(3);
  if (kind === 0) {
    const wanted = 1 + random.below(50_000);
    const tail = await blob.tail(wanted);
    assert.equal(tail.size, size);
    assert.ok(tail.data.equals(bytes.subarray(-wanted)), `wrong bytes in the last ${wanted}`);
    return;
  }
  const ends = kind === 1 ? places.slice(0, 2) : places;
  const parts = [];
  for (let i = 0; i < ends.length; i += 2) parts.push({ start: ends[i]!, end: ends[i + 1]! });
  const got = parts.map(() => [] as Buffer[]);
  for await (const { part, data } of blob.ranges(parts)) got[part]!.push(data);
  for (const [i, { start, end }] of parts.entries())
    assert.ok(Buffer.concat(got[i]!).equals(bytes.subarray(start, end)), `wrong bytes in ${start}-${end}`);
}

/** Rejects for anything but a read that succeeds or fails with an error of a class. */
async function outcome(reading: Promise<void>): Promise<LazypullError | undefined> {
  const hang = sleep(hangMs, 'hang' as const, { ref: false });
  const error = await Promise.race([
    reading.then(
      () => undefined,
      (thrown: unknown) => thrown,
    ),
    hang,
  ]);
  if (error === undefined) return undefined;
  assert.notEqual(error, 'hang', 'a read does not end');
  if (!(error instanceof LazypullError)) throw error;
  assert.match(messageOf(error), /^Cannot (GET|POST|read the end of) "/);
  return error;
}

/** Makes one world's share of the faults, and then waits until all is well. Gives how many reads failed. */
async function tryWorld(seed: number, world: number): Promise<number> {
  const random = new Random(seed, world, 0);
  await using w = await openWorld(random);
  let failed = 0;
  const reader = async (_: unknown, index: number): Promise<void> => {
    const own = new Random(seed, world, index + 1);
    for (let i = 0; i < faultsPerWorld / readers; i++) {
      makeFault(own.pick(w.servers), own);
      if ((await outcome(readSome(w.blob, w.bytes, own))) !== undefined) failed++;
    }
  };
  await Promise.all(Array.from({ length: readers }, reader));
  for (const server of w.servers) server.forgetFaults();
  for (let tries = 0; ; tries++) {
    const error = await outcome(readSome(w.blob, w.bytes, random));
    if (error === undefined) return failed;
    assert.ok(tries < maxTriesToHeal, `world ${world} does not heal: ${messageOf(error)}`);
  }
}

test('Whatever registries do, a read gives the right bytes or an error that names the request, and all is well once they behave', async (t) => {
  const seed = faultSeed();
  const faults = faultsToMake(1_500);
  t.diagnostic(`LAZYPULL_SEED=${seed} LAZYPULL_FAULTS=${faults} repeats it`);
  let world = 0;
  let failed = 0;
  const lane = async (): Promise<void> => {
    while (world * faultsPerWorld < faults) failed += await tryWorld(seed, world++);
  };
  await Promise.all(Array.from({ length: worldsAtOnce }, lane));
  t.diagnostic(`${failed} reads failed`);
  assert.ok(failed < faults / 2);
});
