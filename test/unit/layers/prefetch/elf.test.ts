import assert from 'node:assert/strict';
import { open, stat } from 'node:fs/promises';
import { test } from 'node:test';
import { loadedBytes, neededLibraries, type ReadFile, readElf } from '../../../../src/layers/prefetch/elf.ts';

test('readElf() tells of a real program what it needs, and that nearly all of it is loaded', async () => {
  await using file = await open(process.execPath, 'r');
  const read: ReadFile = async (offset, size) => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, offset);
    return buffer.subarray(0, bytesRead);
  };
  const segments = await readElf(read);
  assert.ok(segments !== undefined);
  const needed = await neededLibraries(read, segments);
  assert.ok(needed.includes('libc.so.6'), needed.join(' '));
  const { size } = await stat(process.execPath);
  const loaded = loadedBytes(segments);
  assert.ok(loaded > size / 4 && loaded <= size, `${loaded} of ${size} bytes`);
});

test('readElf() gives undefined for what is no program', async () => {
  const read = (bytes: Buffer): ReadFile => {
    return (offset, size) => Promise.resolve(bytes.subarray(offset, offset + size));
  };
  assert.equal(await readElf(read(Buffer.from('#!/bin/sh\n'))), undefined);
  assert.equal(await readElf(read(Buffer.alloc(0))), undefined);
});

test('loadedBytes() is 0 if the numbers make no sense', () => {
  assert.equal(loadedBytes([{ type: 1, offset: 2 ** 60, address: 0, bytes: 2 ** 60 }]), 0);
  assert.equal(loadedBytes([]), 0);
});
