import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { errnos, opcodes } from '../../../src/fuse/abi.ts';
import { FuseReader, fuseRequest } from '../../support/fuse-reader.ts';

const directory = mkdtempSync(join(tmpdir(), 'lazypull-fuse-'));
const reader = new FuseReader(directory);
after(async () => {
  await reader.close();
  rmSync(directory, { recursive: true });
});

test('reader-worker refuses a request that is shorter than it says or than its kind must be, and answers the next one', () => {
  const { nodeId } = FuseReader;
  const whole = Buffer.alloc(24);
  assert.deepEqual(reader.ask(fuseRequest(opcodes.read, nodeId, whole, 1n)), [{ unique: 1n, errno: 0 }]);
  const refused = [{ unique: 2n, errno: errnos.EINVAL }];
  assert.deepEqual(reader.ask(fuseRequest(opcodes.read, nodeId, whole.subarray(0, 10), 2n)), refused);
  assert.deepEqual(reader.ask(fuseRequest(opcodes.read, nodeId, whole, 2n, 4096)), refused);
  assert.deepEqual(reader.ask(fuseRequest(opcodes.init, 1, whole.subarray(0, 4), 2n)), refused);
  assert.deepEqual(reader.ask(fuseRequest(opcodes.read, nodeId, whole, 3n).subarray(0, 30)), []);
  assert.deepEqual(reader.ask(fuseRequest(opcodes.getattr, nodeId, whole, 4n)), [{ unique: 4n, errno: 0 }]);
});

test('reader-worker goes on if a layer was removed before it was told of it, and serves the others', () => {
  const gone = FuseReader.nodeId + 1;
  reader.add(gone, join(directory, 'gone'));
  assert.deepEqual(reader.ask(fuseRequest(opcodes.getattr, gone, Buffer.alloc(24), 1n)), [
    { unique: 1n, errno: errnos.EIO },
  ]);
  const read = fuseRequest(opcodes.read, FuseReader.nodeId, Buffer.alloc(40), 2n);
  assert.deepEqual(reader.ask(read), [{ unique: 2n, errno: 0 }]);
});
