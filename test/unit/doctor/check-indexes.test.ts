import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig } from '../../../src/config/load.ts';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkIndexes } from '../../../src/doctor/check-indexes.ts';
import { keyPair, quickClient, temporaryRoot } from '../../support/index-lab.ts';
import { startRegistry, type TestRegistry } from '../../support/registry.ts';

/** What is found of a config file with this in `[index]`. */
async function checked(registry: TestRegistry, index: string) {
  await using root = await temporaryRoot();
  await using client = quickClient();
  const file = join(root.path, 'config.toml');
  await writeFile(file, `[index]\n${index.replace('HOST', registry.host)}\n`);
  const config = await loadConfig({ config: file, root: root.path }, {});
  const results = await checkIndexes(config, client, AbortSignal.timeout(10_000));
  return results.map(({ state, text, advice }) => [state, text.replaceAll(registry.host, 'HOST'), advice]);
}

test('checkIndexes says whether the repository can be read and written, and leaves nothing there', async () => {
  await using registry = await startRegistry();
  const { publicPem } = keyPair();
  assert.deepEqual(await checked(registry, ''), []);
  assert.deepEqual(await checked(registry, 'repository = "HOST/team/indexes"'), [
    ['right', '"HOST/team/indexes" can be read', ''],
  ]);
  const all = `repository = "HOST/team/indexes"\npush = true\ntrusted_keys = [${JSON.stringify(publicPem)}]`;
  assert.deepEqual(await checked(registry, all), [
    ['right', '"HOST/team/indexes" can be read and written; 1 trusted key', ''],
  ]);
  assert.equal(registry.blobs.size, 0);
  assert.equal(registry.manifests.size, 0);
});

test('checkIndexes says what is wrong with the repository, and what to do', async () => {
  await using registry = await startRegistry({ auth: 'token', users: { me: 'secret' }, anonymousPull: true });
  const [[state, text, advice] = []] = await checked(registry, 'repository = "HOST/team/indexes"\npush = true');
  assert.equal(state, 'warning');
  assert.match(text ?? '', /can be read, but not written: /);
  assert.notEqual(advice, '');
  registry.options.anonymousPull = false;
  const [[other, why, what] = []] = await checked(registry, 'repository = "HOST/team/indexes"');
  assert.equal(other, 'warning');
  assert.match(why ?? '', /cannot be read: /);
  assert.notEqual(what, '');
});

test('checkIndexes names the key that cannot be used', async () => {
  await using registry = await startRegistry();
  for (const [index, message] of [
    ['trusted_keys = ["x"]', /"index\.trusted_keys"/],
    ['push = true', /"index\.push": there is no "index\.repository"/],
    ['repository = "HOST/a:1"', /"index\.repository"/],
  ] as const) {
    const [[state, text] = []] = await checked(registry, index);
    assert.equal(state, 'wrong');
    assert.match(text ?? '', message);
  }
});
