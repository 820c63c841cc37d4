import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { replaceFile, replaceFileNow, replacing } from '../../../src/kernel/replace-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'lazypull-replace-'));
after(() => rmSync(directory, { recursive: true }));

describe('replaceFile', () => {
  it('gives a file new content, mode and owner, also over what a killed process left', async () => {
    const path = join(directory, 'a');
    writeFileSync(`${path}.new`, 'what is longer than the new content', { mode: 0o600 });
    await replaceFile(path, 'one');
    assert.deepEqual([readFileSync(path, 'utf8'), statSync(path).mode & 0o777], ['one', 0o600]);
    const { uid, gid } = statSync(path);
    for (const synced of ['nothing', 'content', 'name'] as const) {
      await replaceFile(path, Buffer.from(synced), { mode: 0o640, owner: { uid, gid }, synced });
      assert.deepEqual([readFileSync(path, 'utf8'), statSync(path).mode & 0o777], [synced, 0o640]);
    }
    assert.deepEqual(readdirSync(directory), ['a']);
  });

  it('writes through nothing that stands at a path of its own', async () => {
    const [path, temporary, target] = ['b', 'b.own', 'target'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    symlinkSync(target, temporary);
    await assert.rejects(replaceFile(path, 'two', { temporary }), { code: 'EEXIST' });
    assert.ok(!existsSync(target));
  });
});

describe('replaceFileNow', () => {
  it('does so with blocking calls', () => {
    const path = join(directory, 'c');
    replaceFileNow(path, 'one');
    replaceFileNow(path, 'two');
    assert.equal(readFileSync(path, 'utf8'), 'two');
  });

  it('leaves nothing if it fails', () => {
    const path = join(directory, 'e');
    mkdirSync(join(path, 'full'), { recursive: true });
    assert.throws(() => replaceFileNow(path, Buffer.from('one')), { code: 'EISDIR' });
    assert.ok(!existsSync(`${path}.new`));
    rmSync(path, { recursive: true });
  });
});

describe('replacing', () => {
  it('leaves the old file and nothing else if writing fails', async () => {
    const path = join(directory, 'd');
    await replaceFile(path, 'old');
    const failing = replacing(path, `${path}.part`, async () => {
      writeFileSync(`${path}.part`, 'half');
      throw new Error('no more');
    });
    await assert.rejects(failing, /no more/);
    assert.equal(readFileSync(path, 'utf8'), 'old');
    assert.ok(!existsSync(`${path}.part`));
  });
});
