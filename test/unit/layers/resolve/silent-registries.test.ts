import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { LazypullError } from '../../../../src/errors.ts';
import { refusalReason } from '../../../../src/layers/resolve/refusal-reason.ts';
import { SilentRegistries } from '../../../../src/layers/resolve/silent-registries.ts';
import { silentLog } from '../../../../src/log.ts';
import type { Blob } from '../../../../src/registry/blob/blob.ts';
import { RegistryError } from '../../../../src/registry/errors.ts';
import { fakeImage } from '../../../support/fake-image.ts';
import { FakeBlob } from '../../../support/chunked-blob.ts';

const timeout = new LazypullError('DeadlineExceeded', 'The registry sent nothing');
const long = 10_000;

function setUp(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const probed: string[] = [];
  let probe: Error | undefined = timeout;
  const wanted = (reference: string, digest: string) => {
    const open = (): Blob => {
      probed.push(`${reference} ${digest}`);
      const blob = new FakeBlob(Buffer.alloc(10));
      if (probe !== undefined) blob.tail = () => Promise.reject(probe!);
      return blob;
    };
    return { image: fakeImage(reference, open), digest };
  };
  const registries = new SilentRegistries(silentLog);
  t.after(() => registries.close());
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return {
    registries,
    layer: wanted('one.example/app:1', 'sha256:a'),
    other: wanted('two.example/app:1', 'sha256:a'),
    probed,
    answerProbes: (error?: Error) => (probe = error),
    after: async (ms: number) => {
      t.mock.timers.tick(ms);
      await settled();
    },
    isSilent: (reference: string): boolean => {
      try {
        registries.check(wanted(reference, 'sha256:b'));
        return false;
      } catch (error) {
        assert.equal(refusalReason(error), 'registry');
        return true;
      }
    },
  };
}

/** When something was asked that failed only after so many milliseconds. */
function ago(ms: number): number {
  return performance.now() - ms;
}

test('SilentRegistries.check() fails at once after one layer was waited for in vain, for that registry only', (t) => {
  const { registries, layer, isSilent } = setUp(t);
  assert.ok(!isSilent('one.example/app:1'));
  registries.failed(layer, ago(long), timeout);
  assert.ok(isSilent('one.example/app:1'));
  assert.ok(isSilent('one.example/deep/other:2'));
  assert.ok(!isSilent('two.example/app:1'));
});

test('SilentRegistries learns from errors of the network and the server, and from nothing else', (t) => {
  for (const [error, isLearned] of [
    [new RegistryError('Unavailable', 'the connection was refused'), true],
    [new RegistryError('ResourceExhausted', '429'), true],
    [new RegistryError('NotFound', '404'), false],
    [new RegistryError('Unauthenticated', '401'), false],
    [new LazypullError('ResourceExhausted', 'too many files'), false],
    [new LazypullError('DataLoss', 'wrong digest'), false],
    [new Error('a defect'), false],
  ] as const) {
    const { registries, layer, isSilent } = setUp(t);
    registries.failed(layer, ago(long), error);
    assert.equal(isSilent('one.example/app:1'), isLearned, error.message);
    t.mock.timers.reset();
  }
});

test('SilentRegistries learns nothing from a quick failure, nor if something else was answered meanwhile', (t) => {
  const { registries, layer, isSilent } = setUp(t);
  registries.failed(layer, ago(10), timeout);
  assert.ok(!isSilent('one.example/app:1'));
  registries.answered('one.example/other:1');
  registries.failed(layer, ago(long), timeout);
  assert.ok(!isSilent('one.example/app:1'), 'one blob is slow, not the registry');
});

test('SilentRegistries asks in the background for what is wanted until the registry answers', async (t) => {
  const { registries, layer, probed, after, isSilent, answerProbes } = setUp(t);
  registries.failed(layer, ago(long), timeout);
  await after(1_000);
  assert.deepEqual(probed, ['one.example/app:1 sha256:a']);
  assert.ok(isSilent('one.example/next:1'));
  await after(2_000);
  assert.deepEqual(probed.slice(1), ['one.example/next:1 sha256:b'], 'the last one that was wanted');
  answerProbes();
  await after(1_000);
  assert.ok(isSilent('one.example/app:1'));
  await after(3_000);
  assert.ok(!isSilent('one.example/app:1'));
  await after(100_000);
  assert.equal(probed.length, 3, 'and not any more');
});

test('SilentRegistries takes a 404 to a probe as an answer', async (t) => {
  const { registries, layer, after, isSilent, answerProbes } = setUp(t);
  registries.failed(layer, ago(long), timeout);
  answerProbes(new RegistryError('NotFound', '404'));
  await after(1_000);
  assert.ok(!isSilent('one.example/app:1'));
});

test('SilentRegistries.answered() ends the silence, and close() the probes', async (t) => {
  const { registries, layer, other, probed, after, isSilent } = setUp(t);
  registries.failed(layer, ago(long), timeout);
  registries.answered(layer.image.reference);
  assert.ok(!isSilent('one.example/app:1'));
  registries.failed(other, ago(long), timeout);
  registries.close();
  await after(100_000);
  assert.deepEqual(probed, []);
});

test('SilentRegistries.stalled() counts whatever else was answered meanwhile', (t) => {
  const { registries, layer, isSilent } = setUp(t);
  const askedMs = ago(long);
  registries.answered('one.example/other:1');
  registries.stalled(layer, askedMs, new RegistryError('NotFound', '404'));
  assert.ok(!isSilent('one.example/app:1'));
  registries.stalled(layer, askedMs, timeout);
  assert.ok(isSilent('one.example/app:1'));
});

test('SilentRegistries takes a byte as no answer if what a client needs does not follow', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const asked: number[] = [];
  const open = (): Blob => {
    const blob = new FakeBlob(Buffer.alloc(10));
    const tail = blob.tail.bind(blob);
    const stalling: Blob['tail'] = (bytes, signal) => {
      asked.push(bytes);
      if (bytes === 1) return tail(bytes);
      return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error)));
    };
    return Object.assign(blob, { tail: stalling });
  };
  const registries = new SilentRegistries(silentLog);
  const layer = { image: fakeImage('one.example/app:1', open), digest: 'sha256:a' };
  t.after(() => registries.close());
  registries.failed(layer, ago(long), timeout);
  for (let ms = 0; ms < 60_000; ms += 500) {
    t.mock.timers.tick(500);
    await new Promise((resolve) => setImmediate(resolve));
    assert.throws(() => registries.check(layer), /did not answer lately/);
  }
  assert.ok(asked.length >= 4);
  assert.deepEqual(asked.slice(0, 4), [1, 1 << 20, 1, 1 << 20]);
});
