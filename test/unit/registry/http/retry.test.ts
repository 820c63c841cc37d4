import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeOf } from '../../../../src/errors.ts';
import { silentLog } from '../../../../src/log.ts';
import { RegistryError } from '../../../../src/registry/errors.ts';
import { defaultRetryPolicy, parseRetryAfter, retrying, Tries } from '../../../../src/registry/http/retry.ts';

const policy = { ...defaultRetryPolicy, tries: 3, minDelayMs: 1, maxDelayMs: 2 };
const passing = new RegistryError('Unavailable', 'later', { retryable: true });

function tries(signal?: AbortSignal, totalMs = 1000): Tries {
  return new Tries({ ...policy, totalMs }, silentLog, signal);
}

test('retrying() tries again what may pass, as often as the policy says', async () => {
  let calls = 0;
  const twice = (): Promise<string> => (++calls < 3 ? Promise.reject(passing) : Promise.resolve('done'));
  assert.equal(await retrying(tries(), twice), 'done');
  calls = 0;
  await assert.rejects(
    retrying(tries(), () => {
      calls++;
      return Promise.reject(passing);
    }),
    passing,
  );
  assert.equal(calls, 3);
});

test('retrying() tries again after a silence as often as the policy says for that', async () => {
  const cause = (code: string): Error => Object.assign(new Error(code), { code });
  for (const [code, expected] of [
    ['UND_ERR_HEADERS_TIMEOUT', 2],
    ['UND_ERR_CONNECT_TIMEOUT', 2],
    ['ECONNRESET', 3],
  ] as const) {
    let calls = 0;
    const error = new RegistryError('Unavailable', 'later', { retryable: true, cause: cause(code) });
    const failing = (): Promise<never> => {
      calls++;
      return Promise.reject(error);
    };
    await assert.rejects(retrying(new Tries({ ...policy, silentTries: 2 }, silentLog, undefined), failing), error);
    assert.equal(calls, expected, code);
  }
});

test('retrying() does not try again what cannot pass', async () => {
  for (const error of [new RegistryError('NotFound', 'no'), new Error('a bug')]) {
    let calls = 0;
    const failing = (): Promise<never> => {
      calls++;
      return Promise.reject(error);
    };
    await assert.rejects(retrying(tries(), failing), error);
    assert.equal(calls, 1);
  }
});

test('Tries ends when the time is used up, and does not begin a wait beyond it', async () => {
  const used = tries(undefined, 100);
  used.spent(101);
  assert.ok(used.exhausted);
  await assert.rejects(used.failed(passing), passing);
  const slow = new RegistryError('ResourceExhausted', 'later', { retryable: true, retryAfterMs: 20_000 });
  const startedMs = performance.now();
  await assert.rejects(tries(undefined, 10_000).failed(slow), slow);
  assert.ok(performance.now() - startedMs < 20_000, 'it waited');
});

test('Tries gives time for bytes when they come, and not when they are promised', () => {
  const slow = new Tries({ ...policy, totalMs: 1000, minBytesPerSecond: 100 }, silentLog, undefined);
  slow.spent(900);
  slow.progressed(10);
  slow.spent(190);
  assert.ok(!slow.exhausted);
  slow.spent(20);
  assert.ok(slow.exhausted);
});

test('Tries bounds failures with progress between them', async () => {
  const all = new Tries({ ...policy, totalMs: 1e9, minDelayMs: 0, maxDelayMs: 0 }, silentLog, undefined);
  let failures = 0;
  await assert.rejects(async () => {
    for (;;) {
      all.progressed(1);
      failures++;
      await all.failed(passing);
    }
  }, passing);
  assert.equal(failures, 100);
});

test('Tries stops waiting when the signal aborts', async () => {
  const slow = new RegistryError('Unavailable', 'later', { retryable: true, retryAfterMs: 20_000 });
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 10);
  const startedMs = performance.now();
  await assert.rejects(tries(controller.signal, 90_000).failed(slow), (error) => codeOf(error) === 'Canceled');
  assert.ok(performance.now() - startedMs < 20_000, 'it waited');
});

test('parseRetryAfter() reads seconds and dates', () => {
  assert.equal(parseRetryAfter('120'), 120_000);
  assert.equal(parseRetryAfter(' 0 '), 0);
  const now = Date.parse('2026-01-01T00:00:00Z');
  assert.equal(parseRetryAfter('Thu, 01 Jan 2026 00:00:30 GMT', now), 30_000);
  assert.equal(parseRetryAfter('Wed, 31 Dec 2025 00:00:00 GMT', now), 0);
  for (const header of [undefined, '', 'soon', '-1', '1.5', 'Thu, nonsense'])
    assert.equal(parseRetryAfter(header), undefined, header);
});
