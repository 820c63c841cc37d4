import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { findStargz } from '../../../bench/stargz.ts';

const name = 'containerd-stargz-grpc';
const { PATH, BENCH_STARGZ } = process.env;

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lazypull-test-'));
  delete process.env['BENCH_STARGZ'];
});
afterEach(async () => {
  process.env['PATH'] = PATH;
  if (BENCH_STARGZ !== undefined) process.env['BENCH_STARGZ'] = BENCH_STARGZ;
  await rm(directory, { recursive: true });
});

describe('The Go daemon', () => {
  test('is the first compiled program of its name in PATH', async () => {
    const ours = join(directory, 'ours');
    const compiled = join(directory, 'compiled');
    for (const place of [ours, compiled]) await mkdir(place);
    await writeFile(join(ours, name), '#!/bin/sh\n');
    await chmod(join(ours, name), 0o755);
    process.env['PATH'] = [ours, join(directory, 'nothing')].join(delimiter);
    assert.equal(await findStargz(), undefined);
    await symlink(process.execPath, join(compiled, name));
    process.env['PATH'] = [ours, compiled].join(delimiter);
    assert.equal(await findStargz(), await realpath(process.execPath));
  });

  test('is what BENCH_STARGZ says, which must be a program', async () => {
    process.env['BENCH_STARGZ'] = process.execPath;
    assert.equal(await findStargz(), await realpath(process.execPath));
    process.env['BENCH_STARGZ'] = join(directory, 'nothing');
    await assert.rejects(findStargz());
  });
});
