import assert from 'node:assert/strict';
import { createHash, hash, randomBytes, randomInt } from 'node:crypto';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { tryRun } from '../../support/program.ts';
import { mountsBelow } from '../../support/workspace.ts';

const kills = Number(process.env['LAZYPULL_TEST_KILLS'] ?? 12);
const mib = 1 << 20;

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open();
});
after(() => lab[Symbol.asyncDispose]());

/** Files of all sizes, 20 MB in all. */
const noise = (): FileSpec[] => [
  ...Array.from({ length: 1000 }, (_, i): FileSpec => ({ path: `s${i}`, type: 'reg', content: randomBytes(i * 7) })),
  ...Array.from({ length: 4 }, (_, i): FileSpec => ({ path: `l${i}`, type: 'reg', content: randomBytes(4 * mib) })),
];

/** Reads the tree in the order of tar, of find and at random places at one time. @returns what went wrong */
async function readAll(root: string, files: readonly FileSpec[], tarDigest: string): Promise<string[]> {
  const troubles: string[] = [];
  const tar = async () => {
    const { status, digest, stderr } = await tarOf(root);
    if (status !== 0 || digest !== tarDigest) troubles.push(`tar ended with ${status}, ${digest}: ${stderr}`);
  };
  const find = async () => {
    const { status, stdout, stderr } = await tryRun('find', [root, '-type', 'f', '-exec', 'sha256sum', '{}', '+']);
    const digests = new Map(stdout.split('\n').map((line) => [line.slice(66 + root.length + 1), line.slice(0, 64)]));
    const wrong = files.filter(({ path, content }) => digests.get(path) !== hash('sha256', content!));
    if (status !== 0 || wrong.length > 0) troubles.push(`find ended with ${status}, ${wrong.length} wrong: ${stderr}`);
  };
  const places = async () => {
    for (let i = 0; i < 300; i++) {
      const { path, content } = files[randomInt(files.length)]!;
      const at = randomInt(content!.length + 1);
      try {
        await using file = await open(join(root, path));
        const { buffer, bytesRead } = await file.read(Buffer.alloc(5000), 0, 5000, at);
        if (!buffer.subarray(0, bytesRead).equals(content!.subarray(at, at + 5000))) troubles.push(`${path} at ${at}`);
      } catch (error) {
        troubles.push(String(error));
      }
    }
  };
  await Promise.all([tar(), find(), places()]);
  return troubles;
}

async function tarOf(root: string): Promise<{ status: number | null; digest: string; stderr: string }> {
  const child = spawn('tar', ['--sort=name', '-cf', '-', '-C', root, '.'], { stdio: ['ignore', 'pipe', 'pipe'] });
  const sum = createHash('sha256');
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => sum.update(data));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, digest: sum.digest('hex'), stderr };
}

test(`A program that reads while the daemon is killed ${kills} times only waits, and reads the right bytes`, async (t) => {
  let killed = 0;
  let rounds = 0;
  for (; killed < kills; rounds++) {
    const files = noise();
    // The same tree twice: one to know what tar makes of it, and one of which nothing is here yet.
    const known = await lab.mount(await lab.prepare([lab.layer(estargzBlob(files, 4 * mib))]));
    const { digest } = await tarOf(known);
    await lab.unmount(known);
    const root = await lab.mount(await lab.prepare([lab.layer(estargzBlob(files, mib))]));
    const mounts = await mountsBelow(lab.workspace.path);
    let isReading = true;
    const reading = readAll(root, files, digest).finally(() => {
      isReading = false;
    });
    while (isReading && killed < kills) {
      await delay(randomInt(300));
      const others = randomInt(3) === 0 ? [randomInt(400)] : [];
      await lab.crash(...others);
      killed += 1 + others.length;
    }
    assert.deepEqual(await reading, []);
    assert.deepEqual(await mountsBelow(lab.workspace.path), mounts);
    await lab.unmount(root);
  }
  const starts = lab.daemon
    .log()
    .filter(({ msg }) => msg === 'lazypull is ready')
    .slice(1);
  assert.ok(
    starts.every(({ inherited }) => inherited === true),
    JSON.stringify(starts),
  );
  const ms = starts.map(({ startMs }) => Number(startMs)).sort((a, b) => a - b);
  t.diagnostic(
    `${killed} kills in ${rounds} rounds; the daemon started in ${ms[ms.length >> 1]} ms, at most ${ms.at(-1)}`,
  );
});
