import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeOf } from '../../../../src/errors.ts';
import { estargz } from '../../../../src/formats/estargz/format.ts';
import { BlobTails, type WantedTail } from '../../../../src/layers/resolve/blob-tails.ts';
import type { Blob } from '../../../../src/registry/blob/blob.ts';
import { fakeImage } from '../../../support/fake-image.ts';
import { FakeBlob } from '../../../support/chunked-blob.ts';

const blobBytes = 3 << 20;

function setUp() {
  const opened: string[] = [];
  const sizes: number[] = [];
  let broken = false;
  const open = (digest: string): Blob => {
    opened.push(digest);
    const blob = new FakeBlob(Buffer.alloc(blobBytes));
    const tail = blob.tail.bind(blob);
    blob.tail = (bytes) => {
      sizes.push(bytes);
      return broken ? Promise.reject(new Error('no')) : tail(bytes);
    };
    return blob;
  };
  const wanted = (digest: string, reference = 'a:1') => ({
    image: fakeImage(reference, open),
    digest,
    format: estargz,
  });
  return { tails: new BlobTails(), wanted, opened, sizes, break: (how: boolean) => (broken = how) };
}

test('BlobTails.take() fetches the end of a blob and gives its size', async () => {
  const { tails, wanted } = setUp();
  const { data, size } = await tails.take(wanted('x'));
  assert.equal(size, blobBytes);
  assert.equal(data.length, 1 << 20);
});

test('BlobTails.expect() fetches ahead once, and less of each', async () => {
  const { tails, wanted, opened, sizes } = setUp();
  tails.expect(wanted(''), ['x', 'y']);
  tails.expect(wanted(''), ['y', 'x']);
  await Promise.all([tails.take(wanted('x')), tails.take(wanted('y'))]);
  assert.deepEqual(opened, ['x', 'y']);
  assert.deepEqual(sizes, [512 << 10, 512 << 10]);
  await tails.take(wanted('x'));
  assert.equal(opened.length, 3, 'what was taken is not kept');
  tails.close();
});

test('BlobTails.take() asks again when fetching ahead failed', async () => {
  const setup = setUp();
  setup.break(true);
  setup.tails.expect(setup.wanted(''), ['x']);
  setup.break(false);
  assert.equal((await setup.tails.take(setup.wanted('x'))).size, blobBytes);
});

test('BlobTails.expect() keeps a bounded number', async () => {
  const { tails, wanted, opened } = setUp();
  tails.expect(
    wanted(''),
    Array.from({ length: 500 }, (_, i) => String(i)),
  );
  assert.equal(opened.length, 48);
  tails.close();
});

/** A tail that comes in so many pieces, one every so many seconds, and fails when it is not waited for. */
function slowTails(pieces: number, everyMs: number, told: string[] = []) {
  const watcher = {
    answered: (reference: string) => void told.push(`${reference} answered`),
    failed: ({ image, digest }: WantedTail, _: number, error: unknown) =>
      void told.push(`${image.reference} ${digest} ${codeOf(error)}`),
  };
  const open = (): Blob => {
    const blob = new FakeBlob(Buffer.alloc(blobBytes));
    const tail = blob.tail.bind(blob);
    const slowTail: Blob['tail'] = async (bytes, signal, onBytes) => {
      for (let i = 0; i < pieces; i++) {
        await new Promise((resolve) => setTimeout(resolve, everyMs));
        signal?.throwIfAborted();
        onBytes?.();
      }
      return tail(bytes);
    };
    return Object.assign(blob, { tail: slowTail });
  };
  const wanted = (digest: string, reference = 'a:1') => ({
    image: fakeImage(reference, open),
    digest,
    format: estargz,
  });
  return { tails: new BlobTails(undefined, watcher), wanted };
}

test('BlobTails tells what came of each request: some bytes are no answer', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  for (const [pieces, expected] of [
    [2, 'a:1 answered'],
    [20, 'a:1 x DeadlineExceeded'],
  ] as const) {
    const told: string[] = [];
    const { tails, wanted } = slowTails(pieces, 6_000, told);
    tails.expect(wanted(''), ['x']);
    for (let i = 0; i < 200; i++) {
      t.mock.timers.tick(500);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.deepEqual(told, [expected]);
  }
});

test('BlobTails.take() does not wait once more for what was waited for in vain, unless another image is asked', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  for (const [reference, requests] of [
    ['a:1', 1],
    ['b:1', 2],
  ] as const) {
    const told: string[] = [];
    const { tails, wanted } = slowTails(1, 11_000, told);
    tails.expect(wanted(''), ['x']);
    const taking = tails.take(wanted('x', reference)).catch(codeOf);
    for (let i = 0; i < 100; i++) {
      t.mock.timers.tick(500);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(await taking, 'DeadlineExceeded');
    assert.equal(told.length, requests);
  }
});

test('BlobTails.take waits for a tail that comes slowly but steadily, and not for one that does not come', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const outcome = async (pieces: number, everyMs: number) => {
    const { tails, wanted } = slowTails(pieces, everyMs);
    const taking = tails.take(wanted('x'));
    const ended = taking.then(({ size }) => size, codeOf);
    for (let i = 0; i < 200; i++) {
      t.mock.timers.tick(500);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return ended;
  };
  assert.equal(await outcome(8, 6_000), blobBytes);
  assert.equal(await outcome(1, 11_000), 'DeadlineExceeded');
  assert.equal(await outcome(20, 6_000), 'DeadlineExceeded');
});

test('BlobTails.expect() has a tail that comes slowly for who asks when it is here', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { tails, wanted } = slowTails(5, 6_000);
  let taken: number | undefined;
  tails.expect(wanted(''), ['x']);
  for (let ms = 0; ms < 31_000; ms += 500) {
    if (ms === 25_000) void tails.take(wanted('x')).then(({ data }) => (taken = data.length));
    t.mock.timers.tick(500);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(taken, 512 << 10);
});
