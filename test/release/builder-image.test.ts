import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { startContainer } from '../support/container.ts';
import { attachBuildkitd } from '../support/buildkitd.ts';
import { lazypullAgent } from '../support/lab.ts';
import { accepts, freePort } from '../support/ports.ts';
import { Program, run } from '../support/program.ts';
import { startRegistry } from '../support/registry-process.ts';
import { Relay } from '../support/relay.ts';
import { releaseDirectory, releaseFile, version } from '../support/release.ts';
import { pushSmallBase } from '../support/small-base.ts';
import { repository } from '../support/tools.ts';
import { unpackImage } from '../support/unpacked-image.ts';
import { Workspace } from '../support/workspace.ts';

/** e_machine in the header of an ELF file. */
const machines: Readonly<Record<string, number>> = { amd64: 62, arm64: 183 };

const programs = [
  'usr/bin/git',
  'usr/bin/ssh',
  'usr/bin/dash',
  'usr/bin/mount',
  'usr/sbin/runc',
  'usr/local/bin/buildkitd',
  'usr/local/bin/buildctl',
  'usr/local/lib/lazypull/node_modules/.bin/node',
];

describe('the images of a builder', () => {
  test('are taken by skopeo as archives of OCI and of Docker, and tell of themselves', async () => {
    for (const archive of await archives()) {
      const inspect = async (transport: string, name: string) =>
        JSON.parse(await run('skopeo', ['inspect', '--config', `${transport}:${archive}:${name}`])) as Config;
      const config = await inspect('oci-archive', version);
      assert.equal(`lazypull-builder-${version}-linux-${config.architecture}.oci.tar`, basename(archive));
      assert.deepEqual(await inspect('docker-archive', `lazypull-builder:${version}`), config);
    }
  });

  test('have the programs of their architecture, a list of their packages, and nothing of the machine that made them', async () => {
    for (const archive of await archives()) {
      await using workspace = await Workspace.open('lp-bimg');
      const { config, root } = await unpackImage(archive, workspace.path);
      for (const program of programs) {
        const elf = await readFile(join(root, program));
        assert.equal(elf.subarray(1, 4).toString(), 'ELF', program);
        assert.equal(elf[18], machines[config.architecture], program);
      }
      assert.match(await readFile(join(root, 'etc/ssl/certs/ca-certificates.crt'), 'utf8'), /BEGIN CERTIFICATE/);
      assert.match(await readFile(join(root, 'etc/passwd'), 'utf8'), /^root:/);
      const etc = await readdir(join(root, 'etc'));
      assert.deepEqual(
        ['hostname', 'resolv.conf', 'apt'].filter((name) => etc.includes(name)),
        [],
      );
      assert.deepEqual(await readdir(join(root, 'dev')), []);
      const status = await readFile(join(root, 'var/lib/dpkg/status'), 'utf8');
      const spdx = await readFile(await releaseFile(/\.spdx\.json$/), 'utf8');
      const packages = [...status.matchAll(/^Package: (.+)$/gm)].map(([, name]) => name!);
      assert.ok(packages.includes('git') && packages.includes('libc6'), packages.join(' '));
      for (const name of packages) assert.ok(spdx.includes(`pkg:deb/debian/${name}@`), name);
      const licences = await readFile(join(root, 'usr/local/share/doc/buildkit/copyright'), 'utf8');
      assert.match(licences, /^github\.com\/moby\/buildkit v[\d.]+\n/);
      assert.ok(spdx.includes('pkg:golang/github.com/containerd/containerd/v2@'));
    }
  });

  test('have the BuildKit that the Dockerfile takes', async () => {
    const [, wanted] = /^ARG BUILDKIT=moby\/buildkit:(v.+)$/m.exec(
      await readFile(join(repository, 'Dockerfile'), 'utf8'),
    )!;
    const [, built] = /moby\/buildkit (v\S+)/.exec(await readFile(join(repository, 'tools/buildkit/go.mod'), 'utf8'))!;
    assert.equal(built, wanted);
  });

  test('run a builder that is lazy and reads Git, as buildx starts it', async () => {
    await using workspace = await Workspace.open('lp-bimg');
    await using registry = await startRegistry(await workspace.directory('registry'));
    await using relay = await Relay.start(registry.port);
    await pushSmallBase(join(workspace.path, 'make'), relay.host, 'base');
    const archive = await releaseFile(/builder-.*-linux-amd64\.oci\.tar$/);
    const { config, root } = await unpackImage(archive, await workspace.directory('image'));
    // As Docker does for a container with the network of the host.
    await writeFile(join(root, 'etc/hosts'), '127.0.0.1 localhost\n');
    await using container = await startContainer({
      name: 'builder',
      directory: await workspace.directory('builder'),
      rootfs: root,
      args: ['lazypull-builder', '--allow-insecure-entitlement=network.host'],
      env: [...config.config.Env, 'HOME=/root'],
      volumes: [
        { directory: await workspace.directory('volume'), propagation: 'rprivate', target: '/var/lib/buildkit' },
      ],
    });
    const builder = await attachBuildkitd(root, container.program, join(root, 'run/buildkit/buildkitd.sock'));
    const context = await workspace.directory('context');
    await using source = await serveGit(workspace);
    // The first build pulls, and makes the indexes of the layers.
    for (const round of [1, 2]) {
      await writeFile(
        join(context, 'Dockerfile'),
        `FROM ${relay.host}/base:plain\nADD ${source.url} /source\nRUN cat /data/opaque/shown > /copied # ${round}\n`,
      );
      const since = relay.requests.length;
      await builder.build({ context, output: `type=local,dest=${join(workspace.path, `out-${round}`)}` });
      assert.equal(await readFile(join(workspace.path, `out-${round}`, 'copied'), 'utf8'), 'of the upper layer\n');
      assert.equal(await readFile(join(workspace.path, `out-${round}`, 'source/of-git'), 'utf8'), 'of git\n');
      const blobs = relay.requests.slice(since).filter(({ path }) => path.includes('/blobs/'));
      const byClient = blobs.filter(({ agent }) => !lazypullAgent.test(agent));
      const bytes = byClient.reduce((sum, request) => sum + request.bytes, 0);
      assert.ok(bytes < 100_000, `buildkitd fetched ${bytes} bytes itself`);
      await builder.buildctl('prune', '--all');
    }
    assert.match(container.program.output, /"msg":"/, 'the log of the snapshotter is not that of the container');
  });
});

/** A repository with one file, served by a daemon of Git. */
async function serveGit(workspace: Workspace): Promise<AsyncDisposable & { readonly url: string }> {
  const directory = await workspace.directory('git');
  const repository = join(directory, 'source');
  const port = await freePort();
  const git = ['-c', 'user.name=A', '-c', 'user.email=a@example', '-C', repository];
  await run('git', ['init', '--quiet', '--initial-branch=main', repository]);
  await writeFile(join(repository, 'of-git'), 'of git\n');
  await run('git', [...git, 'add', '.']);
  await run('git', [...git, 'commit', '--quiet', '--message=first']);
  const daemon = new Program({
    name: 'git',
    command: 'git',
    args: ['daemon', '--export-all', `--base-path=${directory}`, '--listen=127.0.0.1', `--port=${port}`, directory],
    log: join(workspace.path, 'git.log'),
  });
  await daemon.ready(() => accepts({ port }));
  return { url: `git://127.0.0.1:${port}/source#main`, [Symbol.asyncDispose]: () => daemon.stop() };
}

interface Config {
  readonly architecture: string;
}

async function archives(): Promise<string[]> {
  const names = (await readdir(releaseDirectory)).filter((name) => name.endsWith('.oci.tar'));
  assert.ok(names.length > 0, releaseDirectory);
  return names.map((name) => join(releaseDirectory, name));
}
