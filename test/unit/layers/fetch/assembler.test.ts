import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ChunkTable, chunkTable } from '../../../../src/chunks/chunk-table.ts';
import { Assembler } from '../../../../src/layers/fetch/assembler.ts';
import { PooledBuffer, BufferPool } from '../../../../src/layers/workers/buffer-pool.ts';
import { membersCodec } from '../../../../src/formats/gzip/members-codec.ts';
import fc from '../../../support/properties.ts';

/** Counts the buffers that were handed out, and those that are still held. */
class CountingPool extends BufferPool {
  taken = 0;
  held = 0;

  override take(bytes: number): PooledBuffer {
    this.taken++;
    this.held++;
    const buffer = super.take(bytes);
    let holders = 1;
    const [hold, release] = [buffer.hold.bind(buffer), buffer.release.bind(buffer)];
    buffer.hold = () => {
      holders++;
      return hold();
    };
    buffer.release = () => {
      if (--holders === 0) this.held--;
      release();
    };
    return buffer;
  }
}

/** Gives out what is asked for and no more, and counts its bytes. */
class ExactSlabs extends BufferPool {
  bytes = 0;

  override take(bytes: number): PooledBuffer {
    this.bytes += bytes;
    return new PooledBuffer(new Uint8Array(bytes), () => undefined);
  }
}

/** A table of streams of so many bytes, each with one row or several. */
function tableOf(streams: readonly { bytes: number; rows: number }[]): ChunkTable {
  const table = chunkTable(
    undefined,
    streams.reduce((sum, { rows }) => sum + rows, 0),
  );
  let row = 0;
  let offset = 1000;
  for (const { bytes, rows } of streams) {
    for (let i = 0; i < rows; i++, row++) {
      table.streamOffset[row] = offset;
      table.streamEnd[row] = offset + bytes;
      table.size[row] = bytes;
      table.innerOffset[row] = i * bytes;
    }
    offset += bytes;
  }
  return table;
}

/** A blob in which no two offsets that matter look the same. */
const blob = Buffer.alloc(22 << 20);
for (let at = 0; at < blob.length; at += 4) blob.writeUInt32LE((at * 2_654_435_761) % 2 ** 32, at);

test('Assembler gives out every chunk once with its bytes, whatever the pieces, and releases all memory', () => {
  const stream = fc.record({
    bytes: fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 1, max: 2_500_000 })),
    rows: fc.integer({ min: 1, max: 3 }),
  });
  const pieces = fc.array(fc.integer({ min: 1, max: 700_000 }), { minLength: 1, maxLength: 20 });
  const takes = fc.array(fc.boolean(), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(fc.array(stream, { minLength: 1, maxLength: 8 }), pieces, takes, (streams, sizes, taking) => {
      const table = tableOf(streams);
      const buffers = new CountingPool();
      const assembler = new Assembler(table, membersCodec.bytesNeeded, { first: 0, last: table.length }, buffers);
      let next = 0;
      const take = () => {
        const batch = assembler.take();
        assert.equal(batch.chunks.first, next);
        for (; next < batch.chunks.last; next++) {
          const { start, end } = membersCodec.bytesNeeded(table, next);
          const bytes = batch.bytes.subarray(start - batch.blobOffset, end - batch.blobOffset);
          assert.ok(blob.subarray(start, end).equals(bytes), `chunk ${next}`);
        }
        batch.release();
      };
      for (let at = assembler.start, turn = 0; at < assembler.end; turn++) {
        const end = Math.min(at + sizes[turn % sizes.length]!, assembler.end);
        const pushed = assembler.push(blob.subarray(at, end));
        assert.ok(pushed > 0);
        at += pushed;
        if (taking[turn % taking.length] && assembler.ready.last > assembler.ready.first) take();
      }
      if (assembler.missing.first < assembler.missing.last) take();
      assert.equal(next, table.length);
      assembler.close();
      assert.equal(buffers.held, 0);
      assert.ok(buffers.taken <= 2 * streams.length + 2, `${buffers.taken} buffers`);
    }),
    { numRuns: 60 },
  );
});

test('Assembler copies little if a piece has many small chunks after a large one', () => {
  const small = Array.from({ length: 400 }, () => ({ bytes: 2000, rows: 1 }));
  const table = tableOf([{ bytes: 1_400_000, rows: 1 }, ...small, { bytes: 1_400_000, rows: 1 }, ...small]);
  const buffers = new ExactSlabs();
  const assembler = new Assembler(table, membersCodec.bytesNeeded, { first: 0, last: table.length }, buffers);
  for (let at = assembler.start; at < assembler.end; ) {
    const pieceEnd = Math.min(at + (64 << 10), assembler.end);
    while (at < pieceEnd) {
      at += assembler.push(blob.subarray(at, pieceEnd));
      if (assembler.ready.first < assembler.ready.last) assembler.take().release();
    }
  }
  assert.equal(assembler.missing.first, table.length);
  assembler.close();
  assert.ok(buffers.bytes < 3 * (assembler.end - assembler.start), `${buffers.bytes} bytes of buffers`);
});

test('BufferPool uses a common buffer again when nobody holds it', () => {
  const buffers = new BufferPool();
  const first = buffers.take(1 << 20);
  first.hold();
  first.release();
  assert.notEqual(buffers.take(1 << 20).bytes, first.bytes);
  first.release();
  assert.equal(buffers.take(1 << 20).bytes, first.bytes);
});

test('BufferPool uses a large buffer again for a row that is a little longer, and keeps a few of them only', () => {
  const buffers = new BufferPool();
  const first = buffers.take(1_400_000);
  first.release();
  const second = buffers.take(1_450_000);
  assert.equal(second.bytes, first.bytes);
  const many = [second, ...Array.from({ length: 11 }, () => buffers.take(1_400_000))];
  for (const buffer of many) buffer.release();
  const again = Array.from(many, () => buffers.take(1_400_000));
  const known = new Set(many.map(({ bytes }) => bytes));
  assert.equal(again.filter(({ bytes }) => known.has(bytes)).length, 6);
});
