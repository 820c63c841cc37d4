import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tails } from '../../../src/layers/tails.ts';
import { FakeBlob } from '../../support/chunked-blob.ts';

const blobBytes = 3 << 20;

function setUp() {
  const opened: string[] = [];
  const sizes: number[] = [];
  let broken = false;
  const tails = new Tails((_, digest) => {
    opened.push(digest);
    const blob = new FakeBlob(Buffer.alloc(blobBytes));
    const tail = blob.tail.bind(blob);
    blob.tail = (bytes) => {
      sizes.push(bytes);
      return broken ? Promise.reject(new Error('no')) : tail(bytes);
    };
    return blob;
  });
  return { tails, opened, sizes, break: (how: boolean) => (broken = how) };
}

test('Tails.take() fetches the end of a blob and gives its size', async () => {
  const { tails } = setUp();
  const { data, size } = await tails.take('a:1', 'x');
  assert.equal(size, blobBytes);
  assert.equal(data.length, 1 << 20);
});

test('Tails.expect() fetches ahead once, and less of each', async () => {
  const { tails, opened, sizes } = setUp();
  tails.expect('a:1', ['x', 'y']);
  tails.expect('a:1', ['y', 'x']);
  await Promise.all([tails.take('a:1', 'x'), tails.take('a:1', 'y')]);
  assert.deepEqual(opened, ['x', 'y']);
  assert.deepEqual(sizes, [512 << 10, 512 << 10]);
  await tails.take('a:1', 'x');
  assert.equal(opened.length, 3, 'what was taken is not kept');
  tails.close();
});

test('Tails.take() asks again when fetching ahead failed', async () => {
  const setup = setUp();
  setup.break(true);
  setup.tails.expect('a:1', ['x']);
  setup.break(false);
  assert.equal((await setup.tails.take('a:1', 'x')).size, blobBytes);
});

test('Tails.expect() keeps a bounded number', async () => {
  const { tails, opened } = setUp();
  tails.expect(
    'a:1',
    Array.from({ length: 500 }, (_, i) => String(i)),
  );
  assert.equal(opened.length, 48);
  tails.close();
});
