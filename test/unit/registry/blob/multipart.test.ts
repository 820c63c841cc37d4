import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byterangesBoundary, readByteranges } from '../../../../src/registry/blob/multipart.ts';
import fc from '../../../support/properties.ts';

async function* cut(body: Buffer, lengths: readonly number[]): AsyncGenerator<Buffer> {
  let position = 0;
  for (let i = 0; position < body.length; i++) {
    const length = lengths.length === 0 ? body.length : lengths[i % lengths.length]!;
    yield body.subarray(position, position + length);
    position += length;
  }
}

async function read(body: Buffer, boundary: string, lengths: readonly number[] = []): Promise<Map<number, Buffer>> {
  const parts = new Map<number, Buffer>();
  let start = 0;
  let next = -1;
  for await (const { offset, data } of readByteranges(cut(body, lengths), boundary)) {
    if (offset !== next) start = offset;
    parts.set(start, Buffer.concat([parts.get(start) ?? Buffer.alloc(0), data]));
    next = offset + data.length;
  }
  return parts;
}

test('byterangesBoundary() reads the boundary', () => {
  assert.equal(byterangesBoundary('multipart/byteranges; boundary=abc'), 'abc');
  assert.equal(byterangesBoundary('Multipart/Byteranges; charset=x; Boundary="a b"'), 'a b');
  assert.equal(byterangesBoundary('multipart/byteranges'), undefined);
  assert.equal(byterangesBoundary('multipart/mixed; boundary=abc'), undefined);
  assert.equal(byterangesBoundary(undefined), undefined);
});

test('readByteranges() gives the parts however the body is cut', async () => {
  const part = fc.record({
    gap: fc.integer({ min: 1, max: 50 }),
    data: fc.uint8Array({ minLength: 1, maxLength: 60 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(part, { minLength: 1, maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 }),
      fc.constantFrom('', '\r\n'),
      async (parts, lengths, preamble) => {
        let offset = 0;
        const expected = new Map<number, Buffer>();
        const pieces = parts.map(({ gap, data }) => {
          offset += gap;
          expected.set(offset, Buffer.from(data));
          const head = `--sep\r\nContent-Type: a/b\r\ncontent-range: bytes ${offset}-${offset + data.length - 1}/100000\r\n\r\n`;
          offset += data.length;
          return Buffer.concat([Buffer.from(head), data, Buffer.from('\r\n')]);
        });
        const body = Buffer.concat([Buffer.from(preamble), ...pieces, Buffer.from('--sep--\r\n')]);
        assert.deepEqual(await read(body, 'sep', lengths), expected);
      },
    ),
  );
});

test('readByteranges() refuses what is cut off or has no heads, in bounded memory', async () => {
  const whole = '--s\r\nContent-Range: bytes 5-9/10\r\n\r\nabcde\r\n--s--';
  assert.deepEqual(await read(Buffer.from(whole), 's'), new Map([[5, Buffer.from('abcde')]]));
  for (let length = 0; length < whole.length; length++) {
    await assert.rejects(read(Buffer.from(whole.slice(0, length)), 's'), Error, String(length));
  }
  await assert.rejects(read(Buffer.alloc(100_000, 'x'), 's'), /no head/);
  await assert.rejects(
    read(Buffer.from('--t\r\nContent-Range: bytes 0-0/1\r\n\r\na\r\n--t--'), 's'),
    /does not begin with the boundary/,
  );
  await assert.rejects(read(Buffer.from('--s\r\nContent-Range: bytes */1\r\n\r\na\r\n--s--'), 's'), /no Content-Range/);
});

test('readByteranges() ends on any body', async () => {
  const nearly = fc.string({
    unit: fc.constantFrom('--', 's', '\r\n', 'Content-Range: bytes ', '0-1/5', 'x', '\r\n\r\n'),
  });
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.string(), nearly), async (text) => {
      await read(Buffer.from(text), 's', [3]).catch((error: unknown) => assert.ok(error instanceof Error));
    }),
  );
});
