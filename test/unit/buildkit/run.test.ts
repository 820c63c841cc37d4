import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { findBuildkitd } from '../../../src/buildkit/run.ts';

describe('findBuildkitd', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lazypull-find-'));
  after(() => rmSync(directory, { recursive: true }));
  const [named, path, tools, empty] = ['named', 'path', 'tools', 'empty'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
    string,
  ];
  mkdirSync(empty);
  for (const place of [named, path, tools]) {
    mkdirSync(place);
    writeFileSync(join(place, 'buildkitd'), '');
    chmodSync(join(place, 'buildkitd'), 0o755);
  }

  it('takes BUILDKIT_BIN_PATH first, then PATH, then the tools', () => {
    assert.equal(findBuildkitd({ BUILDKIT_BIN_PATH: named, PATH: path }, tools), join(named, 'buildkitd'));
    assert.equal(findBuildkitd({ BUILDKIT_BIN_PATH: '', PATH: `${empty}:${path}` }, tools), join(path, 'buildkitd'));
    assert.equal(findBuildkitd({ PATH: empty }, tools), join(tools, 'buildkitd'));
  });

  it('takes BUILDKIT_BIN_PATH also as the program itself', () => {
    assert.equal(findBuildkitd({ BUILDKIT_BIN_PATH: join(named, 'buildkitd') }, tools), join(named, 'buildkitd'));
  });

  it('does not look elsewhere when BUILDKIT_BIN_PATH is wrong', () => {
    assert.throws(() => findBuildkitd({ BUILDKIT_BIN_PATH: empty, PATH: path }, tools), /BUILDKIT_BIN_PATH/);
  });

  it('says what to do when there is none', () => {
    assert.throws(() => findBuildkitd({ PATH: empty }, empty), /install BuildKit .*, or set BUILDKIT_BIN_PATH/);
  });
});
