import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { run } from '../test/support/program.ts';
import { repository } from '../test/support/tools.ts';
import { Workspace } from '../test/support/workspace.ts';
import { type BuilderContents, makeBuilderImage } from './builder-image.ts';
import { makeDeb } from './deb.ts';
import { takeNpmPackage } from './npm-package.ts';
import { provenanceOf } from './provenance.ts';
import { sbomOf } from './sbom.ts';
import { readSource } from './source.ts';
import { makeTarball } from './tarball.ts';
import { type Architecture, architectures, makeTree } from './tree.ts';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      output: { type: 'string', default: join(repository, '.cache', 'release') },
      arch: { type: 'string', default: architectures.join(',') },
      'dry-run': { type: 'boolean', default: false },
    },
  });
  const chosen = values.arch.split(',').map(architecture);
  const effort = values['dry-run'] ? 'quick' : 'small';
  const source = await readSource();
  if (source.changed && !values['dry-run']) {
    throw new Error('Cannot make a release: there are changes that are not committed; commit them, or try --dry-run');
  }
  const output = resolve(values.output);
  await clear(output);
  await using workspace = await Workspace.open('lp-rel');
  // Programs that make archives take it from here.
  process.env['SOURCE_DATE_EPOCH'] = String(source.epoch);
  const packages = join(workspace.path, 'packages');
  await run(join(repository, 'script', 'package'), [packages, ...chosen]);
  await takeNpmPackage(packages, output);
  const contents: BuilderContents[] = [];
  for (const arch of chosen) {
    const tree = await makeTree(arch, join(packages, arch), await workspace.directory(`node-${arch}`), source.epoch);
    await makeTarball(tree, join(output, `lazypull-${source.version}-linux-${arch}.tar.gz`), effort);
    const image = join(output, `lazypull-builder-${source.version}-linux-${arch}.oci.tar`);
    contents.push(await makeBuilderImage(tree, await workspace.directory(`image-${arch}`), image, source, effort));
    await makeDeb(tree, join(workspace.path, `deb-${arch}`), output, source, effort);
  }
  const write = (name: string, value: object) =>
    writeFile(join(output, `lazypull-${source.version}.${name}.json`), `${JSON.stringify(value, null, 2)}\n`);
  await write('spdx', await sbomOf(source, chosen, contents));
  await write('provenance', await provenanceOf(source, chosen, contents, await digestsIn(output)));
  const sums = [...(await digestsIn(output))].map(([name, digest]) => `${digest}  ${name}\n`);
  await writeFile(join(output, 'SHA256SUMS'), sums.join(''));
  process.stdout.write(`${sums.join('')}lazypull ${source.version} is in ${output}\n`);
}

function architecture(name: string): Architecture {
  const found = architectures.find((each) => each === name);
  if (found !== undefined) return found;
  throw new Error(`Cannot make a release for "${name}": the architectures are ${architectures.join(' and ')}`);
}

/** Removes an earlier release, and nothing else. */
async function clear(output: string): Promise<void> {
  await mkdir(output, { recursive: true });
  const entries = await readdir(output);
  const foreign = entries.find((name) => name !== 'SHA256SUMS' && !/^lazypull(-builder)?[-_]\d/.test(name));
  if (foreign !== undefined) {
    throw new Error(`Cannot use ${output}: "${foreign}" is not of a release; choose another directory`);
  }
  for (const name of entries) await rm(join(output, name));
}

/** SHA-256 of each file, by name and sorted. */
async function digestsIn(directory: string): Promise<Map<string, string>> {
  const digests = new Map<string, string>();
  for (const name of (await readdir(directory)).toSorted()) {
    const path = join(directory, name);
    digests.set(
      name,
      createHash('sha256')
        .update(await readFile(path))
        .digest('hex'),
    );
  }
  return digests;
}

try {
  await main();
} catch (error) {
  process.stderr.write(`script/release: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
