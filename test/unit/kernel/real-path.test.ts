import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, describe, it } from 'node:test';
import { isDangling, isSamePath, realPath } from '../../../src/kernel/real-path.ts';

describe('realPath', () => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'real-path-')));
  after(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'data/deep/root'), { recursive: true });
  mkdirSync(join(directory, 'lib'));
  symlinkSync('../data/deep', join(directory, 'lib/link'));
  symlinkSync(join(directory, 'lib/link/root'), join(directory, 'lib/twice'));
  symlinkSync('nowhere', join(directory, 'lib/dangling'));
  symlinkSync('loop', join(directory, 'lib/loop'));

  const cases: Record<string, string> = {
    'lib/link/root': 'data/deep/root',
    'lib/link/root/': 'data/deep/root',
    'lib//link/./root/.': 'data/deep/root',
    'lib/twice': 'data/deep/root',
    // As the kernel has it: the parent of where the symlink leads to.
    'lib/link/../new': 'data/new',
    'lib/link/new/deeper/': 'data/deep/new/deeper',
    'lib/twice/new': 'data/deep/root/new',
    'lib/dangling': 'lib/dangling',
    'lib/dangling/below': 'lib/dangling/below',
    'lib/loop': 'lib/loop',
    'data/none/../other': 'data/other',
  };
  for (const [path, expected] of Object.entries(cases)) {
    it(`takes ${path} for ${expected}`, () => {
      assert.equal(realPath(`${directory}/${path}`), join(directory, expected));
      assert.equal(realPath(`${relative(process.cwd(), directory)}/${path}`), join(directory, expected));
      assert.ok(isSamePath(`${directory}/${path}`, join(directory, expected)));
    });
  }

  it('leaves the root of the machine alone', () => {
    assert.equal(realPath('/'), '/');
    assert.equal(realPath('//none/'), '/none');
  });

  it('knows a symlink that leads nowhere', () => {
    assert.ok(isDangling(join(directory, 'lib/dangling')));
    assert.ok(isDangling(join(directory, 'lib/loop')));
    for (const path of ['lib/link', 'lib', 'none', 'none/none']) assert.ok(!isDangling(join(directory, path)), path);
  });
});
