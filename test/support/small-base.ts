import { createHash } from 'node:crypto';
import { chmod, chown, copyFile, link, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { run, tryRun } from './program.ts';
import { type GzipLayer, gzipLayer, pushImage } from './push-image.ts';

/** Applets of busybox that the tests call by name. */
const applets = [
  'sh',
  'cat',
  'ls',
  'cp',
  'mv',
  'rm',
  'mkdir',
  'ln',
  'find',
  'grep',
  'sha256sum',
  'stat',
  'tar',
  'chmod',
  'touch',
  'wc',
];
const files = 400;
/** Incompressible bytes that a lazy build must not fetch. */
const ballastBytes = 24 * 1024 * 1024;

/**
 * Pushes `repository:plain`, a base of two layers: busybox with a tree that has one of everything (modes, owners,
 * times, xattrs, links, devices, odd names, empty files and zeros) and 24 MiB that no build touches; above it a layer
 * that deletes, replaces and makes opaque. `repository:latin1` has a third layer with a name that is not UTF-8, which
 * Go's eStargz writer cannot keep.
 */
export async function pushSmallBase(directory: string, host: string, repository: string): Promise<void> {
  const layers: GzipLayer[] = [];
  for (const [name, make] of [
    ['lower', makeLower],
    ['upper', makeUpper],
    ['latin1', makeLatin1],
  ] as const) {
    const tree = join(directory, name);
    await mkdir(tree, { recursive: true });
    await make(tree);
    const flags = ['--numeric-owner', '--sort=name', '--format=pax', '--xattrs', '--xattrs-include=*'];
    await run('tar', [...flags, '-C', tree, '-cf', `${tree}.tar`, '.']);
    layers.push(await gzipLayer(`${tree}.tar`, `${tree}.tar.gz`));
  }
  await pushImage(host, repository, 'plain', layers.slice(0, 2));
  await pushImage(host, repository, 'latin1', layers);
  await rm(directory, { recursive: true });
}

async function makeLower(root: string): Promise<void> {
  for (const name of [
    'bin',
    'dev',
    'etc',
    'proc',
    'sys',
    'tmp',
    'data/many',
    'data/kinds',
    'data/opaque',
    'data/gone',
  ]) {
    await mkdir(join(root, name), { recursive: true });
  }
  await chmod(join(root, 'tmp'), 0o1777);
  await copyProgram('/bin/busybox', root, join('bin', 'busybox'));
  for (const applet of applets) await symlink('busybox', join(root, 'bin', applet));
  await writeFile(join(root, 'etc', 'passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  await writeFile(join(root, 'etc', 'group'), 'root:x:0:\n');
  await writeFile(join(root, 'data', 'ballast'), noise('ballast', ballastBytes));
  for (let i = 0; i < files; i++)
    await writeFile(join(root, 'data', 'many', `file-${i}`), noise(`file-${i}`, (i * 997) % 65_536));
  await makeKinds(join(root, 'data', 'kinds'));
  await writeFile(join(root, 'data', 'opaque', 'hidden'), 'of the lower layer\n');
  await writeFile(join(root, 'data', 'gone', 'whiteout'), 'of the lower layer\n');
  await writeFile(join(root, 'data', 'gone', 'replaced'), 'of the lower layer\n');
}

async function makeKinds(root: string): Promise<void> {
  const at = (name: string) => join(root, name);
  await writeFile(at('empty'), '');
  await writeFile(at('setuid'), 'x');
  await chown(at('setuid'), 1000, 100_000);
  await chmod(at('setuid'), 0o4755);
  await writeFile(at('linked'), 'two names\n');
  await link(at('linked'), at('a-linked-too'));
  await symlink('../many/file-7', at('symlink'));
  await symlink('x'.repeat(300), at('long-symlink'));
  await writeFile(at('old'), 'before 1970\n');
  await run('touch', ['--date=1969-12-30 00:00:00 UTC', at('old')]);
  await writeFile(at('exact'), 'nanoseconds\n');
  await run('touch', ['--date=2001-02-03 04:05:06.123456789 UTC', at('exact')]);
  await writeFile(at('xattrs'), 'has xattrs\n');
  await run('setfattr', ['-n', 'user.text', '-v', 'plain', at('xattrs')]);
  await run('setfattr', ['-n', 'user.binary', '-v', '0x00ff0a3d01', at('xattrs')]);
  await writeFile(at('capable'), 'has a capability\n');
  await run('setfattr', [
    '-n',
    'security.capability',
    '-v',
    '0x0100000200040000000000000000000000000000',
    at('capable'),
  ]);
  await run('mknod', [at('char'), 'c', '5', '1']);
  await run('mknod', [at('block'), 'b', '259', '70000']);
  await run('mknod', [at('fifo'), 'p']);
  await writeFile(at('line\nfeed and "quotes"'), 'odd name\n');
  await mkdir(at('d'.repeat(200)));
  await writeFile(join(at('d'.repeat(200)), 'n'.repeat(200)), 'long path\n');
  await run('truncate', ['--size=8M', at('zeros')]);
}

async function makeUpper(root: string): Promise<void> {
  await mkdir(join(root, 'data', 'gone'), { recursive: true });
  await mkdir(join(root, 'data', 'opaque'), { recursive: true });
  await writeFile(join(root, 'data', 'gone', '.wh.whiteout'), '');
  await writeFile(join(root, 'data', 'gone', 'replaced'), 'of the upper layer\n');
  await writeFile(join(root, 'data', 'opaque', '.wh..wh..opq'), '');
  await writeFile(join(root, 'data', 'opaque', 'shown'), 'of the upper layer\n');
}

async function makeLatin1(root: string): Promise<void> {
  await writeFile(Buffer.concat([Buffer.from(`${root}/caf`), Buffer.from([0xe9])]), 'not UTF-8\n');
  await symlink(Buffer.from([0xe9, 0xff, 0xfe]), join(root, 'to-latin1'));
}

/** Copies a program to `root/target`, and the libraries that it is linked to, if it is, to where they are here. */
export async function copyProgram(program: string, root: string, target: string): Promise<void> {
  await copyFile(program, join(root, target));
  const { stdout } = await tryRun('ldd', [program]);
  for (const [library] of stdout.matchAll(/\/\S+/g)) {
    await mkdir(join(root, dirname(library)), { recursive: true });
    await copyFile(library, join(root, library));
  }
}

/** Bytes that do not compress and depend on the name alone. */
function noise(name: string, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let offset = 0, block = 0; offset < length; offset += 64, block++) {
    createHash('sha512').update(`${name} ${block}`).digest().copy(bytes, offset);
  }
  return bytes;
}
