import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { Random } from '../../fuzz/random.ts';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { faultSeed, faultsToMake, makeFault } from '../../support/faults.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { type Fault, startRegistry, type TestRegistry } from '../../support/registry.ts';
import { until } from '../../support/until.ts';

const kib = 1 << 10;
const readers = 8;
const maxTriesToHeal = 4;

let directory: string;
let lab: LayerLab;
let mirror: TestRegistry;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lazypull-certs.d-'));
  lab = await LayerLab.open(`no_background_fetch = true\n[resolver]\nconfig_path = "${directory}"\n`);
  mirror = await startRegistry({ redirect: true, auth: 'token', anonymousPull: true });
  await mkdir(join(directory, lab.registry.host));
  await writeFile(join(directory, lab.registry.host, 'hosts.toml'), `[host."http://${mirror.host}"]\n`);
});
beforeEach(() => lab.restart('SIGTERM')); // each test has a daemon that knows nothing of the servers
after(async () => {
  await lab[Symbol.asyncDispose]();
  await mirror.close();
  await rm(directory, { recursive: true });
});

/** Files in a mounted layer that both servers have, and a way to read them that fails for wrong bytes. */
async function mountFiles(count: number, bytes: number) {
  const files: FileSpec[] = Array.from({ length: count }, (_, i) => ({
    path: `file-${i}`,
    type: 'reg',
    content: randomBytes(bytes),
  }));
  const blob = estargzBlob(files, 64 * kib);
  const layer = lab.layer(blob);
  mirror.addBlob(blob.bytes);
  const root = await lab.mount(await lab.prepare([layer]));
  return {
    digest: layer.digest,
    dataEnd: blob.context.tocOffset,
    /** The code of the error that reading some of a file gives; undefined for the right bytes. */
    read: async (index: number, from = 0): Promise<string | undefined> => {
      await using file = await open(join(root, `file-${index}`));
      try {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(4 * kib), 0, 4 * kib, from);
        assert.ok(buffer.subarray(0, bytesRead).equals(files[index]!.content!.subarray(from, from + 4 * kib)));
        return undefined;
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        return (error as NodeJS.ErrnoException).code;
      }
    },
    [Symbol.asyncDispose]: () => lab.unmount(root),
  };
}

function complaints(): string {
  return lab.complaints.map((complaint) => JSON.stringify(complaint)).join('\n');
}

test('A mirror with wrong bytes is not believed: readers get the right ones from the registry itself', async () => {
  await using layer = await mountFiles(20, 300 * kib);
  const served = mirror.blobs.get(layer.digest)!;
  for (let at = 100; at < layer.dataEnd; at += 300) served[at]! ^= 0x55;
  for (let i = 0; i < 20; i++) assert.equal(await layer.read(i, 100 * kib), undefined);
  assert.ok(mirror.count({ on: 'storage', path: new RegExp(layer.digest) }) > 0);
  assert.ok(lab.registry.count({ path: new RegExp(layer.digest) }) > 0);
});

test('A mirror that falls silent holds readers up for a moment, and only once', async () => {
  await using layer = await mountFiles(20, 300 * kib);
  mirror.script({}, ...Array<Fault>(100).fill({ kind: 'stall', after: -1 }));
  for (const i of [0, 10, 19]) assert.equal(await layer.read(i), undefined);
  assert.match(complaints(), new RegExp(`"server":"http://${mirror.host}","error":"no answer so far"`));
  mirror.forgetFaults();
});

test('Servers that die give EIO with the reason in the log, and data once one of them is back', async () => {
  await using layer = await mountFiles(20, 300 * kib);
  for (const server of [mirror, lab.registry]) await server.die();
  assert.equal(await layer.read(5, 200 * kib), 'EIO');
  assert.match(complaints(), /"file":"file-5".*the connection was refused/);
  await lab.registry.revive();
  assert.equal(await layer.read(5, 200 * kib), undefined);
  await mirror.revive();
});

test('Whatever both servers answer, a reader gets the right bytes or EIO, and all of them once they behave', async (t) => {
  const seed = faultSeed();
  const faults = faultsToMake(300);
  t.diagnostic(`LAZYPULL_SEED=${seed} LAZYPULL_FAULTS=${faults} repeats it`);
  const count = Math.max(300, faults);
  await using layer = await mountFiles(count, 20 * kib);
  const reader = async (_: unknown, index: number): Promise<void> => {
    const random = new Random(seed, index, 0);
    for (let i = 0; i < faults / readers; i++) {
      makeFault(random.pick([mirror, lab.registry]), random, 'lying');
      const code = await layer.read(random.below(count), random.below(16 * kib));
      if (code !== undefined) assert.equal(code, 'EIO');
    }
  };
  await Promise.all(Array.from({ length: readers }, reader));
  for (const server of [mirror, lab.registry]) server.forgetFaults();
  for (let i = 0; i < count; i += 5) {
    let tries = 0;
    while ((await layer.read(i)) !== undefined) assert.ok(++tries < maxTriesToHeal, `file-${i} does not heal`);
  }
});

test('A registry that takes connections and never answers is waited for once, and its layers are lazy again when it answers', {
  timeout: 120_000,
}, async () => {
  const layers = [0, 1, 2, 3].map((i) => {
    const blob = estargzBlob([{ path: `file-${i}`, type: 'reg', content: randomBytes(kib) }], 64 * kib);
    mirror.addBlob(blob.bytes);
    return lab.layer(blob);
  });
  const open: (() => void)[] = [];
  for (const server of [mirror, lab.registry])
    server.gate = () => new Promise((resolve) => void open.push(() => resolve()));
  for (const layer of layers.slice(0, 3)) assert.equal(await lab.isLazy(layer), false);
  // Only the first one was waited for: what is asked about the others are probes, of one byte.
  const asked = (i: number): (string | undefined)[] =>
    [...mirror.requests, ...lab.registry.requests]
      .filter(({ path }) => path.includes(layers[i]!.digest))
      .map(({ range }) => range);
  assert.ok(asked(0).some((range) => range !== 'bytes=-1'));
  for (const i of [1, 2]) assert.ok(asked(i).every((range) => range === 'bytes=-1'));
  assert.match(complaints(), /the registry does not answer: clients pull its layers themselves until it does/);
  for (const server of [mirror, lab.registry]) server.gate = () => Promise.resolve();
  for (const answer of open) answer();
  await until(() => lab.isLazy(layers[3]!));
});
