import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { hash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildTar } from '../../support/tar-builder.ts';

const bin = (name: string) => fileURLToPath(new URL(`../../../src/bin/${name}.ts`, import.meta.url));

describe('the command line', () => {
  it('prints its name and version', async () => {
    assert.match((await run('lazypull', ['--version'])).stdout, /^lazypull \d+\.\d+\.\d+\n$/);
    assert.match((await run('containerd-stargz-grpc', ['-version'])).stdout, /^containerd-stargz-grpc \d/);
  });

  it('takes the words and letters by which programs are asked for their version and their help', async () => {
    for (const word of ['version', '-v', '-V', '--version']) {
      assert.match((await run('lazypull', [word])).stdout, /^lazypull \d+\.\d+\.\d+\n$/, word);
    }
    assert.match((await run('containerd-stargz-grpc', ['-v'])).stdout, /^containerd-stargz-grpc \d/);
    const { stdout } = await run('lazypull', ['--help']);
    assert.match(stdout, /^Usage: lazypull \[options\] \[command\]\n/);
    assert.equal((await run('lazypull', ['help'])).stdout, stdout);
    const prune = await run('lazypull', ['cache', 'prune', '--help']);
    assert.equal((await run('lazypull', ['help', 'cache', 'prune'])).stdout, prune.stdout);
    assert.equal((await run('lazypull', ['cache', 'help', 'prune'])).stdout, prune.stdout);
    const daemon = await run('lazypull', ['daemon', 'help']);
    assert.match(daemon.stdout, /^Usage: lazypull daemon /);
    const unknown = await run('lazypull', ['help', 'cache', 'nonsense']);
    assert.deepEqual([unknown.code, unknown.stdout], [2, '']);
    assert.match(unknown.stderr, /^lazypull: There is no command "cache nonsense": there are ls, prune, verify\n/);
  });

  it('ends with 2 for wrong usage, on standard error, under the name that was called', async () => {
    const unknown = await run('containerd-stargz-grpc', ['-bogus']);
    assert.deepEqual([unknown.code, unknown.stdout], [2, '']);
    assert.match(unknown.stderr, /^containerd-stargz-grpc: Unknown option '-bogus'/);
    assert.equal((await run('lazypull', [])).code, 2);
    assert.equal((await run('lazypull', ['daemon', 'extra'])).code, 2);
    for (const args of [
      ['ls', 'localhost:1/a', '--platform', 'linux/a/b/c'],
      ['convert', 'localhost:1/a', 'localhost:1/b', '--platform', 'linux/'],
    ]) {
      const { code, stderr } = await run('lazypull', args);
      assert.equal(code, 2);
      assert.match(stderr, /write OS\/ARCHITECTURE, as in "linux\/arm64"/);
    }
  });

  it('ends with 2 for arguments that cannot be', async () => {
    for (const args of [
      ['cache', 'prune', '--older-than', '5'],
      ['cache', 'prune', '--keep-bytes', '50%'],
      ['setup', 'buildkit', '--registry', 'docker.io'],
      ['setup', 'buildkit', '--mirror', 'nonsense'],
      ['buildkit', 'compose', 'relative', 'x'],
    ]) {
      const { code, stdout, stderr } = await run('lazypull', args);
      assert.deepEqual([code, stdout], [2, ''], args.join(' '));
      assert.match(stderr, /^lazypull: Cannot use .*\nhint: .*\n$/);
    }
  });

  it('ends with 3 if convert wrote an image that cannot be lazy, and lets no name in it command the terminal', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'lazypull-test-'));
    t.after(() => rm(directory, { recursive: true }));
    const put = async (mediaType: string, bytes: Buffer) => {
      const digest = hash('sha256', bytes);
      await mkdir(join(directory, 'blobs/sha256'), { recursive: true });
      await writeFile(join(directory, 'blobs/sha256', digest), bytes);
      return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
    };
    const name = Buffer.from('bin\x1b[31m\u009b2J\u202e\n').toString('latin1');
    const tar = buildTar([
      { name, typeflag: '2', linkName: 'x' },
      { name: `${name}/tool`, data: Buffer.from('x') },
    ]);
    const layer = await put('application/vnd.oci.image.layer.v1.tar', tar);
    const diffIds = [layer.digest];
    const json = (value: object) => Buffer.from(JSON.stringify(value));
    const config = await put('application/vnd.oci.image.config.v1+json', json({ rootfs: { diff_ids: diffIds } }));
    const manifest = await put('application/vnd.oci.image.manifest.v1+json', json({ config, layers: [layer] }));
    await writeFile(join(directory, 'index.json'), json({ manifests: [manifest] }));
    const args = ['convert', `oci-layout:${directory}`, `oci-layout:${directory}:lazy`];
    const people = await run('lazypull', args);
    assert.equal(people.code, 3, people.stderr);
    assert.match(people.stderr, /cannot be lazy: Cannot place "bin\?\[31m\?2J\?\?\/tool"/);
    assert.match(people.stdout, /^sha256:[0-9a-f]{64}\n$/);
    const programs = await run('lazypull', ['convert', '--json', `${args[1]}@${manifest.digest}`, args[2]!]);
    assert.equal(programs.code, 3);
    for (const text of [people.stderr, programs.stderr, programs.stdout]) {
      assert.doesNotMatch(text.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u);
    }
    const events = programs.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      events.map(({ event, reason, isLazy }) => [event, reason, isLazy]),
      [
        ['layer', undefined, undefined],
        ['not-lazy', 'unsupported', undefined],
        ['image', undefined, false],
      ],
    );
  });

  it('does not hang on a directory that takes no entries', async () => {
    const file = '/proc/nothing/b/buildkitd.toml';
    const { code, stderr } = await run('lazypull', ['setup', 'buildkit', '--write', '--file', file]);
    assert.equal(code, 1);
    assert.match(stderr, /^lazypull: Cannot change "\/proc\/nothing\/b\/buildkitd\.toml": ENOENT/);
  });

  it('says after wrong usage where the right one is', async () => {
    assert.match((await run('lazypull', ['statsu'])).stderr, /Did you mean status\?.*\nhint: add --help .*\n$/);
    assert.match(
      (await run('lazypull', ['ls'])).stderr,
      /^lazypull: Missing required argument 'image'\nhint: add --help/,
    );
  });

  it('ends with 1 when the output cannot be written, and without a word when nobody reads it', async () => {
    for (const args of [['--help'], ['setup', 'buildkit'], ['completion', 'bash']]) {
      const { code, stderr } = await runTo('> /dev/full', 'lazypull', args);
      assert.equal(code, 1, args.join(' '));
      assert.match(stderr, /^lazypull: Cannot write the output: ENOSPC: .*\nhint: free some space/m);
    }
    const gone = await runTo('| true; exit ${PIPESTATUS[0]}', 'lazypull', ['completion', 'bash']);
    assert.ok(gone.code <= 1 && gone.stderr === '', gone.stderr);
  });

  it('looks for traces in the root that the environment names', async () => {
    const { code, stderr } = await run('lazypull', ['trace', 'export'], { LAZYPULL_ROOT: '/nonexistent/root' });
    assert.equal(code, 0);
    assert.match(
      stderr,
      /^lazypull: There are no traces in "\/nonexistent\/root": no layer was read in part there yet,.*--root/,
    );
  });

  it('says what it did with traces, and puts them where the flags say', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'lazypull-traces-'));
    try {
      const file = join(directory, 'traces.jsonl');
      const [from, to] = [join(directory, 'from'), join(directory, 'to')];
      const digest = (hex: string) => `sha256:${hex.repeat(64)}`;
      const line = (hex: string) => JSON.stringify({ version: 1, digest: digest(hex), ranges: [[0, 10]] });
      writeFileSync(file, `${line('a')}\n${line('b')}\n`);
      const first = await run('lazypull', ['trace', 'import', file, '--root', from]);
      assert.deepEqual([first.code, first.stdout], [0, '2\n']);
      assert.equal(first.stderr, `lazypull: Imported 2 traces into "${from}"\n`);
      const out = join(directory, 'out.jsonl');
      const exported = await run('lazypull', ['trace', 'export', out, '--root', from, '--digest', digest('a')]);
      assert.match(exported.stderr, /^lazypull: Exported 1 trace of "[^"]+\/from" to "[^"]+\/out\.jsonl", \d+ B\n$/);
      assert.deepEqual(readFileSync(out, 'utf8').trim(), line('a'));
      await run('lazypull', ['trace', 'import', out, '--root', to]);
      const again = await run('lazypull', ['trace', 'import', file], { LAZYPULL_ROOT: to });
      assert.equal(again.stderr, `lazypull: Imported 2 traces into "${to}", 1 in place of another one\n`);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('says what to do about files that cannot be written', async () => {
    const { code, stderr } = await run('lazypull', ['trace', 'export', '/nonexistent/file', '--root', '/nonexistent']);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /There are no traces in "\/nonexistent": .*\nlazypull: Cannot write "\/nonexistent\/file": ENOENT/,
    );
  });

  it('names the line of a file that cannot be imported, and what of a path is wrong', async () => {
    const traces = fileURLToPath(new URL('../../../LICENSE', import.meta.url));
    const { code, stderr } = await run('lazypull', ['trace', 'import', traces, '--root', '/nonexistent']);
    assert.equal(code, 1);
    assert.equal(
      stderr,
      `lazypull: Cannot import line 1 of "${traces}", which "lazypull trace export" did not write: Cannot use the trace: it is not JSON\n`,
    );
    const missing = await run('lazypull', ['trace', 'import', '/nonexistent', '--root', '/nonexistent']);
    assert.match(missing.stderr, /^lazypull: Cannot read "\/nonexistent": ENOENT: .*\nhint: check the path\n$/);
  });

  it('ends with 1 for a failure, with a hint', async () => {
    const { code, stderr } = await run('lazypull', ['ls', 'localhost:1/a', '--config', '/nonexistent']);
    assert.equal(code, 1);
    assert.match(stderr, /^lazypull: Cannot read the config file "\/nonexistent": .*\nhint: .*\n$/);
  });

  it('ends with 1 for the status of a daemon that is not there', async () => {
    const { code, stdout, stderr } = await run('lazypull', ['status', '--json', '--address', '/nonexistent/lp.sock']);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(
      stderr,
      /^lazypull: Cannot reach the daemon at "\/nonexistent\/lp\.sock": ENOENT\nhint: start it with/,
    );
  });

  it('logs why the daemon does not start, as JSON', async () => {
    const { code, stderr } = await run('lazypull', ['daemon', '--config', '/nonexistent/c.toml']);
    assert.equal(code, 1);
    const line = JSON.parse(stderr);
    assert.equal(line.level, 'fatal');
    assert.match(line.error, /Cannot read the config file "\/nonexistent\/c\.toml"/);
  });
});

/** As `run`, with the output of the program redirected as bash has it. */
function runTo(redirection: string, name: string, args: string[]): Promise<{ code: number; stderr: string }> {
  return new Promise((resolve) => {
    const command = `"$0" "$@" ${redirection}`;
    execFile('bash', ['-c', command, process.execPath, bin(name), ...args], (error, _, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stderr });
    });
  });
}

function run(
  name: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bin(name), ...args], { env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}
