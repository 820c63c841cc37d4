import assert from 'node:assert/strict';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { thisPlatform } from '../../src/images/resolve.ts';
import { type Containerd, startContainerd } from '../support/containerd.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { Lab } from '../support/lab.ts';
import { run, tryRun } from '../support/program.ts';
import { repository } from '../support/tools.ts';

let lab: Lab;
let daemon: Daemon;
let containerd: Containerd;

before(async () => {
  lab = await Lab.open();
  daemon = await startDaemon(join(lab.workspace.path, 'lp'));
  containerd = await startContainerd(join(lab.workspace.path, 'cd'), daemon.socket);
});
after(async () => {
  await containerd?.[Symbol.asyncDispose]();
  await daemon?.[Symbol.asyncDispose]();
  await lab?.[Symbol.asyncDispose]();
});

function pull(image: string, ...options: string[]) {
  const command = join(repository, 'bin', 'lazypull');
  return tryRun(command, ['pull', '--json', '--address', containerd.address, '--namespace', 'lp', ...options, image]);
}

const ctr = (...args: string[]) => containerd.ctr('--namespace', 'lp', ...args);

test('lazypull pull makes an image known to containerd, which reads it without any of its layers', async () => {
  const image = lab.reference('base:esgz');
  const since = lab.relay.requests.length;
  const { status, stdout, stderr } = await pull(image);
  assert.equal(status, 0, stderr);
  const events = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    events.map(({ event, name, digest, wasThere }) => ({ event, name, digest, wasThere })),
    [
      ...lab.base.layers.map(({ digest }) => ({ event: 'layer', name: undefined, digest, wasThere: false })),
      { event: 'image', name: image, digest: lab.base.digest, wasThere: undefined },
    ],
  );

  // The garbage collection keeps what the image needs: a removal that waits for it shows that.
  await ctr('images', 'tag', image, 'other:1');
  await ctr('images', 'rm', '--sync', 'other:1');
  const target = join(lab.workspace.path, 'mnt');
  await mkdir(target);
  await ctr('images', 'mount', '--snapshotter', 'stargz', image, target);
  try {
    assert.equal(await readFile(join(target, 'etc', 'group'), 'utf8'), 'root:x:0:\n');
    assert.deepEqual(await readdir(join(target, 'data', 'opaque')), ['shown']);
  } finally {
    await run('umount', [target]);
  }
  assert.deepEqual(lab.pulls(since), [], 'containerd pulled a layer');
  const kept = (await ctr('content', 'ls', '--quiet')).trim().split('\n').sort();
  assert.deepEqual(kept, [lab.base.digest, lab.base.config.digest].sort());
  assert.doesNotMatch(await ctr('leases', 'ls', '--quiet'), /lazypull/);

  const again = await pull(image);
  assert.equal(again.status, 0, again.stderr);
  assert.match(again.stdout, /"wasThere":true/);
});

test('lazypull pull --platform refuses an image in no index that is for another one, and reads its configuration once', async () => {
  const image = lab.reference('base:esgz');
  const other = await pull(image, '--platform', 'linux/s390x');
  assert.equal(other.status, 1);
  assert.match(other.stderr, /has no platform "linux\/s390x": it is for linux\/\w+, and in no index/);
  const since = lab.relay.requests.length;
  const own = await pull(image, '--platform', thisPlatform);
  assert.equal(own.status, 0, own.stderr);
  const read = lab.relay.requests.slice(since).filter(({ path }) => path.includes(lab.base.config.digest));
  assert.equal(read.length, 1);
});

test('lazypull pull of an image that is not eStargz says what to do, and makes no image of it', async () => {
  const { status, stderr } = await pull(lab.reference('base:plain'));
  assert.equal(status, 1);
  assert.match(stderr, /^lazypull: Cannot read layer 1 of 2 of .*; convert the image with "lazypull convert"\n/);
  assert.doesNotMatch(await ctr('images', 'ls', '--quiet'), /base:plain/);
  assert.doesNotMatch(await ctr('leases', 'ls', '--quiet'), /lazypull/);
  const nobody = await tryRun(join(repository, 'bin', 'lazypull'), [
    'pull',
    '--address',
    '/nonexistent/cd.sock',
    lab.reference('base:esgz'),
  ]);
  assert.equal(nobody.status, 1);
  assert.match(nobody.stderr, /^lazypull: Cannot reach the containerd at "\/nonexistent\/cd\.sock": ENOENT; /);
});
