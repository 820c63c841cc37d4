import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LazypullError } from '../../../../src/errors.ts';
import type { TarEntry } from '../../../../src/formats/tar/entry.ts';
import { TarReader } from '../../../../src/formats/tar/reader.ts';
import {
  buildEntry,
  buildTar,
  header,
  inPieces,
  metadataEntry,
  paxRecord,
  type TarSpec,
  withChecksum,
} from '../../../support/tar-builder.ts';
import fc from '../../../support/properties.ts';

interface Read extends TarEntry {
  data: Buffer;
}

async function readTar(tar: Buffer, pieceBytes?: number): Promise<Read[]> {
  const reader = new TarReader(inPieces(tar, pieceBytes));
  const entries: Read[] = [];
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const parts: Buffer[] = [];
    for (let part = await reader.readPayload(1e6); part.length > 0; part = await reader.readPayload(1e6))
      parts.push(part);
    entries.push({ ...entry, data: Buffer.concat(parts) });
  }
  return entries;
}

async function readOne(spec: TarSpec): Promise<Read> {
  const [entry] = await readTar(buildTar([spec]));
  assert.ok(entry);
  return entry;
}

function rejects(tar: Buffer, message: RegExp, code = 'DataLoss'): Promise<void> {
  return assert.rejects(
    readTar(tar),
    (error) => error instanceof LazypullError && error.code === code && message.test(error.message),
  );
}

test('TarReader reads every type of entry', async () => {
  const entries = await readTar(
    buildTar([
      { name: 'd/', typeflag: '5', mode: 0o1777 },
      {
        name: 'd/f',
        data: Buffer.from('hello'),
        mode: 0o104755,
        uid: 5,
        gid: 6,
        userName: 'u',
        groupName: 'g',
        mtime: 7,
      },
      { name: 'old/', typeflag: '\0' },
      { name: 'old/file', typeflag: '\0', data: Buffer.from('x') },
      { name: 'contiguous', typeflag: '7', data: Buffer.from('y') },
      { name: 'hard', typeflag: '1', linkName: 'd/f' },
      { name: 'soft', typeflag: '2', linkName: '../x' },
      { name: 'null', typeflag: '3', devMajor: 1, devMinor: 3 },
      { name: 'disk', typeflag: '4', devMajor: 259, devMinor: 70_000 },
      { name: 'pipe', typeflag: '6' },
    ]),
  );
  assert.deepEqual(
    entries.map(({ path, type }) => [path, type]),
    [
      ['d/', 'dir'],
      ['d/f', 'reg'],
      ['old/', 'dir'],
      ['old/file', 'reg'],
      ['contiguous', 'reg'],
      ['hard', 'hardlink'],
      ['soft', 'symlink'],
      ['null', 'char'],
      ['disk', 'block'],
      ['pipe', 'fifo'],
    ],
  );
  const [, file, , , , hard, soft, , disk] = entries;
  assert.partialDeepStrictEqual(file, {
    mode: 0o4755,
    uid: 5,
    gid: 6,
    userName: 'u',
    groupName: 'g',
    mtimeSeconds: 7,
    size: 5,
  });
  assert.equal(file?.data.toString(), 'hello');
  assert.equal(hard?.linkTarget, 'd/f');
  assert.equal(soft?.linkTarget, '../x');
  assert.partialDeepStrictEqual(disk, { devMajor: 259, devMinor: 70_000 });
});

test('TarReader applies PAX records', async () => {
  const path = `${'p'.repeat(300)}/\xe9\xff\n`;
  const entry = await readOne({
    name: path,
    data: Buffer.from('abc'),
    uid: 3_000_000,
    gid: 70_000,
    pax: {
      mtime: '-1.25',
      uname: 'user',
      gname: 'group',
      'SCHILY.xattr.user.bin': 'a\0\n=\xff',
      'SCHILY.xattr.user.empty': '',
    },
  });
  assert.partialDeepStrictEqual(entry, { path, uid: 3_000_000, gid: 70_000, userName: 'user', groupName: 'group' });
  assert.deepEqual([entry.mtimeSeconds, entry.mtimeNanoseconds], [-2, 750_000_000]);
  assert.deepEqual(
    entry.xattrs,
    new Map([
      ['user.bin', Buffer.from('a\0\n=\xff', 'latin1')],
      ['user.empty', Buffer.alloc(0)],
    ]),
  );
});

test('TarReader takes a size of 8 GiB from a PAX record and from base 256', async () => {
  const pax = Buffer.concat([metadataEntry('x', paxRecord('size', '8589934592')), header({ name: 'big' }, 0)]);
  assert.equal((await new TarReader(inPieces(pax)).next())?.size, 8_589_934_592);
  const block = header({ name: 'big' }, 0);
  block.fill(0, 124, 136);
  block[124] = 0x80;
  block.writeUIntBE(8_589_934_592, 130, 6);
  assert.equal((await new TarReader(inPieces(withChecksum(block))).next())?.size, 8_589_934_592);
});

test('TarReader reads negative base-256 times', async () => {
  const block = header({ name: 'old' }, 0);
  block.fill(0xff, 136, 148);
  block.writeIntBE(-86_400, 142, 6);
  assert.equal((await new TarReader(inPieces(withChecksum(block))).next())?.mtimeSeconds, -86_400);
});

test('TarReader applies GNU long names, which win over PAX records', async () => {
  const name = 'n'.repeat(200);
  const target = 't'.repeat(200);
  const tar = Buffer.concat([
    metadataEntry('K', Buffer.from(`${target}\0`)),
    metadataEntry('x', paxRecord('path', 'other')),
    metadataEntry('L', Buffer.from(`${name}\0`)),
    buildTar([{ name: 'short', typeflag: '2', linkName: 'short' }]),
  ]);
  const [entry] = await readTar(tar);
  assert.partialDeepStrictEqual(entry, { path: name, linkTarget: target });
});

test('TarReader passes global records over, as Go does', async () => {
  const tar = Buffer.concat([
    metadataEntry('g', Buffer.concat([paxRecord('uname', 'everyone'), paxRecord('path', 'x'), paxRecord('uid', '7')])),
    buildEntry({ name: 'a' }),
    buildTar([{ name: 'b', pax: { uname: 'own' } }]),
  ]);
  const entries = await readTar(tar);
  assert.deepEqual(
    entries.map(({ path, userName, uid }) => [path, userName, uid]),
    [
      ['a', '', 0],
      ['b', 'own', 0],
    ],
  );
  assert.deepEqual(
    entries.map(({ globalHeaders }) => globalHeaders.length),
    [1024, 0],
  );
  await rejects(Buffer.concat([metadataEntry('g', Buffer.from('9 a=b')), buildEntry({ name: 'f' })]), /malformed/);
});

test('TarReader joins the prefix of a ustar header', async () => {
  const block = header({ name: 'name' }, 0);
  block.write('some/prefix', 345);
  assert.equal((await new TarReader(inPieces(withChecksum(block))).next())?.path, 'some/prefix/name');
});

test('TarReader takes the prefix that old versions of Go wrote in the place of two times of the GNU format, as Go does', async () => {
  const pathOf = async (where: number, text: string) => {
    const block = header({ name: 'name' }, 0);
    block.write('ustar  \0', 257, 'latin1');
    block.write(text, where, 'latin1');
    return (await new TarReader(inPieces(withChecksum(block))).next())?.path;
  };
  assert.equal(await pathOf(345, 'some/prefix'), 'some/prefix/name');
  assert.equal(await pathOf(345, 'some/prefix/that/is/longer'), 'some/prefix/that/is/longer/name');
  assert.equal(await pathOf(345, '12345670123\0\x30\x31'), 'name', 'times');
  assert.equal(await pathOf(345, 'caf\xe9'), 'name', 'not ASCII');
  assert.equal(await pathOf(369, 'offset'), 'name', 'something else');
});

test('TarReader takes a long name that is empty for none', async () => {
  const empty = Buffer.concat(['L', 'K'].map((type) => metadataEntry(type, Buffer.from('\0'))));
  const [entry] = await readTar(Buffer.concat([empty, buildTar([{ name: 'l', typeflag: '2', linkName: 't' }])]));
  assert.partialDeepStrictEqual(entry, { path: 'l', linkTarget: 't' });
});

test('TarReader gives the raw bytes: headers, payload and padding make up the archive', async () => {
  const spec = fc.record({
    name: fc.stringMatching(/^[a-z\xe0-\xff]{1,300}$/),
    data: fc.uint8Array({ maxLength: 3000 }).map((data) => Buffer.from(data)),
    uid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
    mtime: fc.integer({ min: -1e9, max: 1e10 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(spec, { maxLength: 8 }), fc.integer({ min: 1, max: 2000 }), async (specs, pieceBytes) => {
      const tar = buildTar(specs);
      const reader = new TarReader(inPieces(tar, pieceBytes));
      const parts: Buffer[] = [];
      for (const expected of specs) {
        const entry = await reader.next();
        assert.partialDeepStrictEqual(entry, { path: expected.name, uid: expected.uid, mtimeSeconds: expected.mtime });
        parts.push(entry?.headers ?? Buffer.alloc(0));
        for (let part = await reader.readPayload(700); part.length > 0; part = await reader.readPayload(700))
          parts.push(part);
        parts.push(await reader.readPadding());
      }
      assert.equal(await reader.next(), undefined);
      assert.deepEqual(Buffer.concat([...parts, Buffer.alloc(1024)]), tar);
    }),
    { numRuns: 50 },
  );
});

test('TarReader takes an archive without an end mark, or with one block of it', async () => {
  const whole = buildTar([{ name: 'a' }]);
  assert.equal((await readTar(whole.subarray(0, 512))).length, 1);
  assert.equal((await readTar(whole.subarray(0, 1024))).length, 1);
  assert.equal((await readTar(Buffer.alloc(0))).length, 0);
});

test('TarReader refuses damaged archives', async () => {
  const good = buildTar([{ name: 'a', data: Buffer.alloc(2000, 'a') }]);
  const flipped = Buffer.from(good);
  flipped[0] = 0x62;
  await rejects(flipped, /checksum does not match/);
  await rejects(good.subarray(0, 300), /ends inside of a header/);
  await rejects(good.subarray(0, 1500), /ends inside of a file/);
  await rejects(Buffer.concat([Buffer.alloc(512), good]), /lone block of zeros/);
  await rejects(metadataEntry('x', paxRecord('path', 'a')), /ends between a PAX/);
  await rejects(Buffer.concat([metadataEntry('x', Buffer.from('99 path=a\n')), good]), /malformed record/);
  await rejects(header({ name: 'meta', typeflag: 'L' }, 2 ** 21), /beyond the limit/);
  await rejects(Buffer.concat(Array.from({ length: 100 }, () => metadataEntry('L', Buffer.from('x')))), /more than 64/);
});

test('TarReader refuses numbers and names that Linux does not have', async () => {
  await rejects(buildTar([{ name: 'a', pax: { gid: '1x' } }]), /"gid" is not a number/);
  await rejects(buildTar([{ name: 'a', pax: { size: '99999999999999999999' } }]), /"size" is not a number/);
  await rejects(buildTar([{ name: 'a', pax: { size: '-1' } }]), /"size" is out of range/);
  await rejects(buildTar([{ name: 'a', pax: { mtime: 'yesterday' } }]), /not a time/);
  await rejects(buildTar([{ name: 'a', pax: { path: 'a\0b' } }]), /holds a NUL/);
  await rejects(buildTar([{ name: 'l', typeflag: '2' }]), /has no target/);
  const negative = header({ name: 'a' }, 0);
  negative.fill(0xff, 124, 136);
  await rejects(withChecksum(negative), /"size" is out of range/);
  const octal = header({ name: 'a' }, 0);
  octal.write('0000009\0', 108);
  await rejects(withChecksum(octal), /"uid" is not a number/);
  for (const typeflag of ['V', 'M', 'X']) {
    await rejects(buildTar([{ name: 'a', typeflag }]), /cannot be in a layer/, 'InvalidArgument');
  }
});

/** Writes a number in base 256 into a field of a header block. */
function inBase256(block: Buffer, start: number, end: number, value: bigint): Buffer {
  const bytes = end - start;
  const bits = BigInt.asUintN(bytes * 8, value >= 0n ? value | (1n << BigInt(bytes * 8 - 1)) : value);
  for (let i = 0; i < bytes; i++) block[end - 1 - i] = Number((bits >> BigInt(8 * i)) & 0xffn);
  return withChecksum(block);
}

test('TarReader has ids, modes, devices and times come out as containerd does', async () => {
  const read = async (start: number, end: number, value: bigint, typeflag = '0') =>
    (await readTar(inBase256(header({ name: 'a', typeflag }, 0), start, end, value)))[0] ?? assert.fail();
  const ids: [bigint, number][] = [
    [-1n, 0],
    [-2n, 2 ** 32 - 2],
    [-1000n, 2 ** 32 - 1000],
    [4294967294n, 4294967294],
    [4294967295n, 0],
    [5000000000n, 705032704],
    [2n ** 63n - 1n, 0],
    [-(2n ** 63n), 0],
    [2n ** 53n + 7n, 7],
  ];
  for (const [value, id] of ids) {
    if (value === BigInt.asIntN(53, value)) {
      assert.equal((await read(108, 116, value)).uid, id, String(value));
      assert.equal((await read(116, 124, value)).gid, id, String(value));
    }
    assert.equal((await readOne({ name: 'a', pax: { uid: String(value) } })).uid, id, String(value));
  }
  assert.equal((await read(100, 108, -1n)).mode, 0o7777);
  assert.equal((await read(329, 337, 5000n, '3')).devMajor, 904);
  assert.equal((await read(337, 345, -1n, '4')).devMinor, 2 ** 20 - 1);
  assert.equal((await read(136, 148, 2n ** 63n - 1n)).mtimeSeconds, 0);
  assert.equal((await readOne({ name: 'a', pax: { mtime: '+5.5' } })).mtimeSeconds, 5);
  for (const mtime of ['9223372036854775807', '-9223372036854775808.5']) {
    const { mtimeSeconds, mtimeNanoseconds } = await readOne({ name: 'a', pax: { mtime } });
    assert.deepEqual([mtimeSeconds, mtimeNanoseconds], [0, 0], mtime);
  }
  await rejects(buildTar([{ name: 'a', pax: { mtime: '9223372036854775808' } }]), /not a time/);
  await rejects(buildTar([{ name: 'a', pax: { uid: '9223372036854775808' } }]), /"uid" is not a number/);
});

test('TarReader takes a directory by its type, and reads what GNU tar writes behind one', async () => {
  const tar = buildTar([
    { name: 'd/', typeflag: 'D', data: Buffer.from('Yfile\0'), mode: 0o700, uid: 5 },
    { name: `${'long/'.repeat(30)}d/`, typeflag: 'D', data: Buffer.from('list') },
    { name: 'old/', typeflag: '\0' },
    { name: 'file/', typeflag: '0', data: Buffer.from('data') },
    { name: 'contiguous', typeflag: '7', data: Buffer.from('x') },
  ]);
  const entries = await readTar(tar);
  assert.deepEqual(
    entries.map(({ type, size, data }) => [type, size, data.length]),
    [
      ['dir', 0, 0],
      ['dir', 0, 0],
      ['dir', 0, 0],
      ['reg', 4, 4],
      ['reg', 1, 1],
    ],
  );
  const again = await readTar(Buffer.concat([entries[0]!.headers, entries[1]!.headers]));
  assert.deepEqual(
    again.map(({ type, path, mode, uid }) => [type, path, mode, uid]),
    [
      ['dir', 'd/', 0o700, 5],
      ['dir', `${'long/'.repeat(30)}d/`, 0o644, 0],
    ],
  );
});

test('TarReader ends in an entry or a LazypullError whatever it reads', async () => {
  const tar = buildTar([{ name: 'a', data: Buffer.alloc(700, 'a'), pax: { 'SCHILY.xattr.user.x': 'y' } }]);
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: tar.length - 1 }),
      fc.integer({ min: 0, max: 255 }),
      async (at, byte) => {
        const changed = Buffer.from(tar);
        changed[at] = byte;
        if (at < 2048 && at % 1024 < 512) withChecksum(changed.subarray(at - (at % 512), at - (at % 512) + 512));
        await readTar(changed).catch((error: unknown) => assert.ok(error instanceof LazypullError, String(error)));
      },
    ),
    { numRuns: 300 },
  );
});
