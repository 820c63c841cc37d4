import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { tryRun, run } from '../support/program.ts';
import { getManifest } from '../support/push-image.ts';
import { type RegistryProcess, startRegistry } from '../support/registry-process.ts';
import { pushSmallBase } from '../support/small-base.ts';
import { repository, systemTool } from '../support/tools.ts';
import { describeTree } from '../support/tree.ts';
import { Workspace } from '../support/workspace.ts';

let workspace: Workspace;
let registry: RegistryProcess;
let skopeo: string;
let image: string;

before(async () => {
  skopeo = systemTool('skopeo');
  workspace = await Workspace.open('convert');
  registry = await startRegistry(await workspace.directory('registry'));
  image = `${registry.host}/base`;
  await pushSmallBase(await workspace.directory('base'), registry.host, 'base');
});
after(async () => {
  await registry[Symbol.asyncDispose]();
  await workspace[Symbol.asyncDispose]();
});

/** Runs `lazypull convert`, with its temporary files in a directory that must be empty afterwards. */
async function convert(...args: string[]) {
  const temporary = await workspace.directory('temporary');
  const main = join(repository, 'src', 'bin', 'lazypull.ts');
  const result = await tryRun(process.execPath, [main, 'convert', '--temp-dir', temporary, ...args]);
  assert.deepEqual(await readdir(temporary), []);
  return result;
}

async function converted(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await convert(...args);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^sha256:[0-9a-f]{64}\n$/);
  return stdout.trim();
}

/** The layers of an image by skopeo, each unpacked by GNU tar and described. */
async function describeLayers(name: string, tag: string): Promise<string[][]> {
  const directory = await workspace.directory(name);
  const layout = join(directory, 'layout');
  await run(skopeo, ['copy', '--src-tls-verify=false', `docker://${image}:${tag}`, `oci:${layout}:x`]);
  const manifest = await getManifest(registry.host, 'base', tag);
  const trees: string[][] = [];
  for (const [i, layer] of (manifest?.layers ?? []).entries()) {
    const root = join(directory, String(i));
    await mkdir(root);
    const blob = join(layout, 'blobs', layer.digest.replace(':', '/'));
    await run('bash', ['-c', 'gzip -t < "$1"', 'bash', blob]);
    await run('tar', ['--numeric-owner', '--xattrs', '--xattrs-include=*', '-xzpf', blob, '-C', root]);
    trees.push(await describeTree(root));
  }
  return trees;
}

test('an image of a registry is converted to the same tree in eStargz layers', async () => {
  const digest = await converted(`${image}:plain`, `${image}:lazy`);
  const manifest = await getManifest(registry.host, 'base', 'lazy');
  assert.equal(manifest?.digest, digest);
  for (const { mediaType, annotations } of manifest?.layers ?? []) {
    assert.equal(mediaType, 'application/vnd.oci.image.layer.v1.tar+gzip');
    assert.match(annotations?.['containerd.io/snapshot/stargz/toc.digest'] ?? '', /^sha256:[0-9a-f]{64}$/);
  }
  const plain = await describeLayers('plain', 'plain');
  assert.equal(plain.length, 2);
  assert.deepEqual(await describeLayers('lazy', 'lazy'), plain);
});

test('a layer that is eStargz already is copied as it is, and a second conversion gives the same digest', async () => {
  const first = await converted(`${image}:plain`, `${image}:first`);
  assert.equal(await converted(`${image}:plain`, `${image}:again`), first);
  assert.equal(await converted(`${image}:first`, `${registry.host}/other/base:copied`), first);
});

test('an OCI layout is a source and a destination', async () => {
  const layout = join(await workspace.directory('oci'), 'layout');
  await run(skopeo, ['copy', '--src-tls-verify=false', `docker://${image}:plain`, `oci:${layout}:plain`]);
  const digest = await converted(`oci-layout:${layout}:plain`, `${image}:from-layout`);
  assert.equal(digest, await converted(`${image}:plain`, `oci-layout:${layout}:lazy`));
  const inspected = await run(skopeo, ['inspect', '--format', '{{.Digest}}', `oci:${layout}:lazy`]);
  assert.equal(inspected.trim(), digest);
});

test('the mirrors of a config file are asked, as by other commands', async () => {
  const config = join(workspace.path, 'config.toml');
  const mirror = `[[resolver.host."images.invalid".mirrors]]\nhost = "${registry.host}"\ninsecure = true\n`;
  await writeFile(config, mirror);
  const digest = await converted('--config', config, 'images.invalid/base:plain', `${image}:through-mirror`);
  assert.equal(digest, await converted(`${image}:plain`, `${image}:direct`));
  const { status, stderr } = await convert('--config', '/nonexistent', `${image}:plain`, `${image}:x`);
  assert.equal(status, 1);
  assert.match(stderr, /^lazypull: Cannot read the config file "\/nonexistent"/);
});

test('exit codes tell a failure from a wrong usage', async () => {
  const missing = await convert(`${image}:missing`, `${image}:x`);
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /^lazypull: Cannot /);
  assert.equal(missing.stdout, '');
  assert.equal((await convert(`${image}:plain`)).status, 2);
  assert.equal((await convert(`${image}:plain`, 'Not A Name')).status, 2);
  assert.equal((await convert('--level', '10', `${image}:plain`, `${image}:x`)).status, 2);
});

test('a truncated layer is a failure that leaves no image', async () => {
  const layout = join(await workspace.directory('broken'), 'layout');
  await run(skopeo, ['copy', '--src-tls-verify=false', `docker://${image}:plain`, `oci:${layout}:plain`]);
  const manifest = await getManifest(registry.host, 'base', 'plain');
  const layer = manifest?.layers[0]?.digest ?? assert.fail();
  await writeFile(join(layout, 'blobs', layer.replace(':', '/')), 'not a layer');
  const { status, stderr } = await convert(`oci-layout:${layout}:plain`, `${image}:broken`);
  assert.equal(status, 1);
  assert.ok(stderr.includes(layer), stderr);
  assert.equal(await getManifest(registry.host, 'base', 'broken'), undefined);
});
