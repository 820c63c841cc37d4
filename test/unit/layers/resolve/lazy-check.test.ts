import assert from 'node:assert/strict';
import { test } from 'node:test';
import { estargz } from '../../../../src/formats/estargz/format.ts';
import { LazyCheck } from '../../../../src/layers/resolve/lazy-check.ts';
import { RegistryError } from '../../../../src/registry/errors.ts';
import { estargzBlob, type FileSpec } from '../../../support/estargz-blob.ts';

const dir = (path: string, more: Partial<FileSpec> = {}): FileSpec => ({ path, type: 'dir', mode: 0o755, ...more });
const file = (path: string): FileSpec => ({ path, type: 'reg', mode: 0o644, content: Buffer.from(path) });
const link = (path: string, linkTarget: string): FileSpec => ({ path, type: 'symlink', mode: 0o777, linkTarget });
const { signal } = new AbortController();

/** Reads layers into a check. @returns the words for what is wrong with each, the lowest first */
async function reasons(...layers: (readonly FileSpec[])[]): Promise<string[]> {
  const check = new LazyCheck(estargz);
  const digests: string[] = [];
  for (const [i, files] of layers.entries()) {
    const { bytes, context } = estargzBlob([...files, file(`only-${i}`)], 1000);
    const digest = `sha256:${String(i).padStart(64, '0')}`;
    await check.read(blobOf(bytes), { digest, index: context.tocDigest }, signal);
    digests.push(digest);
  }
  const problems = await check.ofImage(digests);
  return problems.map(({ digest, reason }) => `${digests.indexOf(digest)} ${reason}`);
}

function blobOf(bytes: Buffer) {
  return {
    tail: (count: number) => Promise.resolve({ data: bytes.subarray(-count), size: bytes.length }),
    async *range(start: number, end: number) {
      yield bytes.subarray(start, end);
    },
  };
}

test('LazyCheck judges a layer as a daemon does, considering those below it', async () => {
  assert.deepEqual(await reasons([dir('d'), file('d/f')], [dir('d'), file('d/g')]), []);
  assert.deepEqual(await reasons([link('bin', 'usr/bin'), file('bin/tool')]), ['0 unsupported']);
  assert.deepEqual(await reasons([link('bin', 'usr/bin')], [file('bin/tool')]), ['1 stacking']);
  assert.deepEqual(await reasons([dir('home', { uid: 7 })], [dir('x')], [file('home/f')]), ['2 stacking']);
  assert.deepEqual(await reasons([file('.wh.gone')]), ['0 stacking']);
  assert.deepEqual(await reasons([dir('d')], [file('.wh.d')]), []);
  const many = Array.from({ length: 17 }, () => 'n'.repeat(250)).join('/');
  assert.deepEqual(await reasons([file(many)], [dir('d')]), ['0 limit']);
  assert.deepEqual(await reasons([{ ...file('f'), xattrs: { 'user.a': Buffer.alloc(65_536) } }]), ['0 limit']);
});

test('LazyCheck has a reason for what is not eStargz or not as promised, and none for what was not read', async () => {
  const check = new LazyCheck(estargz);
  const { bytes, context } = estargzBlob([file('f')], 1000);
  const digests = ['0', '1', '2', '3'].map((letter) => `sha256:${letter.repeat(64)}`);
  const [plain, other, refused] = digests as [string, string, string];
  await check.read(blobOf(Buffer.alloc(500)), { digest: plain, index: context.tocDigest }, signal);
  await check.read(blobOf(bytes), { digest: other, index: plain }, signal);
  check.refuse(refused, 'It is encrypted');
  const down = () => Promise.reject(new RegistryError('Unavailable', 'The registry is down'));
  await check.read({ ...blobOf(bytes), tail: down }, { digest: digests[3]!, index: context.tocDigest }, signal);
  const problems = await check.ofImage(digests);
  assert.deepEqual(
    problems.map(({ reason }) => reason),
    ['format', 'content', 'unsupported'],
  );
  assert.equal(problems[2]!.message, 'It is encrypted');
  await assert.rejects(check.read(blobOf(Buffer.alloc(5)), { digest: digests[3]!, index: plain }, AbortSignal.abort()));
});
