import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run, tryRun } from '../support/program.ts';
import { getManifest } from '../support/push-image.ts';
import { type RegistryProcess, startRegistry } from '../support/registry-process.ts';
import { pushSmallBase } from '../support/small-base.ts';
import { repository } from '../support/tools.ts';
import { Workspace } from '../support/workspace.ts';

/** What `npm pack` gives, in a project of another program, with a real registry. */
describe('the library', () => {
  let workspace: Workspace;
  let registry: RegistryProcess;
  let project: string;

  before(async () => {
    workspace = await Workspace.open('lp-library');
    registry = await startRegistry(await workspace.directory('registry'));
    await pushSmallBase(await workspace.directory('base'), registry.host, 'base');
    project = await workspace.directory('project');
    const packed = await run('npm', ['pack', '--json', '--pack-destination', workspace.path, repository], {
      env: quiet,
    });
    const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
    await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'consumer', type: 'module', private: true }));
    await run('npm', ['install', '--no-audit', '--no-fund', join(workspace.path, filename)], {
      cwd: project,
      env: quiet,
    });
    await cp(join(import.meta.dirname, '../support/consumer'), project, { recursive: true });
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    await workspace[Symbol.asyncDispose]();
  });

  test('is typed for a strict compiler without the types of Node', async () => {
    const { status, stdout } = await tsc('.');
    assert.deepEqual([status, stdout], [0, '']);
    const wrong = "import { openRegistry } from 'lazypull';\nexport const registry = openRegistry({ logins: 1 });\n";
    await writeFile(join(project, 'wrong.ts'), wrong);
    assert.match((await tsc('.')).stdout, /^wrong\.ts\(2,\d+\): error TS2322/);
    await writeFile(join(project, 'wrong.ts'), '');
  });

  test('opens, lists, reads, inspects and converts an image', async () => {
    assert.equal((await tsc('.')).status, 0);
    const target = `${registry.host}/base:by-library`;
    const args = [`${registry.host}/base:plain`, target];
    const result = JSON.parse(await run(process.execPath, [join(project, 'main.js'), ...args])) as {
      digest: string;
      isLazy: boolean;
      formats: string[];
      etc: string[];
      content: string;
      code: string;
    };
    assert.equal(result.digest, (await getManifest(registry.host, 'base', 'by-library'))?.digest);
    assert.equal(result.isLazy, true);
    assert.deepEqual([...new Set(result.formats)], ['gzip']);
    assert.ok(result.etc.includes('/etc/passwd'), String(result.etc));
    assert.equal(result.content, 'root:x:0:0:root:/root:/bin/sh\n');
    assert.equal(result.code, 'NotFound');
  });

  test('tells an older Node what it needs', async () => {
    const older = `Object.defineProperty(process.versions, 'node', { value: '22.1.0' });`;
    const program = `${older} await import('lazypull').catch(({ message }) => console.log(message));`;
    const said = await run(process.execPath, ['--input-type=module', '-e', program], { cwd: project });
    assert.equal(said, 'Cannot use lazypull with Node 22.1.0: it needs Node 24 or later\n');
  });

  test('is fit to be published', async () => {
    const directory = join(project, 'node_modules/lazypull');
    const json = JSON.parse(await readFile(join(directory, 'package.json'), 'utf8')) as {
      types: string;
      exports: { '.': { default: string } };
    };
    assert.ok(!('private' in json));
    for (const path of [json.types, json.exports['.'].default]) assert.ok(existsSync(join(directory, path)), path);
  });

  function tsc(directory: string) {
    return tryRun(join(repository, 'node_modules/.bin/tsc'), ['-p', directory], { cwd: project });
  }
});

/** npm tells of versions and funding otherwise. */
const quiet = { npm_config_update_notifier: 'false', npm_config_loglevel: 'error' };
