import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { takeMirrorFlags, withMirrorConfig } from '../../../src/buildkit/mirror-config.ts';

test('takeMirrorFlags takes the registries of the mirror out of the flags', () => {
  const flags = ['--debug', '--mirror', 'docker.io', '--root', '/r', '--mirror=localhost:5000'];
  assert.deepEqual(takeMirrorFlags(flags), {
    registries: ['docker.io', 'localhost:5000'],
    rest: ['--debug', '--root', '/r'],
  });
  for (const wrong of [['--mirror'], ['--mirror='], ['--mirror', '--debug'], ['--mirror=https://x']]) {
    assert.throws(() => takeMirrorFlags(wrong), { code: 'InvalidArgument' });
  }
});

test('withMirrorConfig gives buildkitd its own configuration with the mirror in it', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-buildkit-'));
  t.after(() => rm(directory, { recursive: true }));
  const root = join(directory, 'root');
  await mkdir(root);
  const given = join(directory, 'given.toml');
  await writeFile(given, 'debug = true\n');
  const config = join(directory, 'made', 'buildkitd.toml');
  const mirror = { registries: ['docker.io'], config };
  const instance = { address: '/run/lp.sock', root };
  const flags = ['--config', given];
  await assert.rejects(
    withMirrorConfig(flags, mirror, instance),
    /the daemon at "\/run\/lp\.sock": it runs without one/,
  );
  await writeFile(join(root, 'mirror-address'), '127.0.0.1:1234\n');
  assert.deepEqual(await withMirrorConfig(flags, mirror, instance), [...flags, `--config=${config}`]);
  const text = await readFile(config, 'utf8');
  assert.match(
    text,
    /^# Written by [^]*\ndebug = true\n\n\[registry\."docker\.io"\]\n {2}mirrors = \["127\.0\.0\.1:1234"\]\n$/,
  );
  await assert.rejects(withMirrorConfig(['--config=/nowhere'], mirror, instance), { code: 'FailedPrecondition' });
});
