import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { systemTool } from '../../support/tools.ts';
import { until } from '../../support/until.ts';

let lab: LayerLab;

const toml = 'no_background_fetch = true\nnoprefetch = true\n';

before(async () => {
  lab = await LayerLab.open(toml);
});
after(() => lab[Symbol.asyncDispose]());

const file = (path: string, content: Buffer): FileSpec => ({ path, type: 'reg', mode: 0o755, content });
const noise = (name: string): FileSpec[] =>
  Array.from({ length: 12 }, (_, i) => file(`usr/share/${name}-${i}`, randomBytes(300_000)));

/** Waits until the registry of a lab has seen so many requests; what it means if it does not is `complaint`. */
async function untilAsked({ registry }: LayerLab, requests: number, complaint: string): Promise<void> {
  await until(() => registry.requests.length >= requests, complaint);
}

test('When Python is started, the modules that it imports first come without a request of their own', async () => {
  const modules = ['__init__', 'utf_8'].map(
    (name) => `usr/lib/python3.11/encodings/__pycache__/${name}.cpython-311.pyc`,
  );
  const program = await readFile(systemTool('busybox'));
  const { bytes, context } = estargzBlob([
    file('usr/bin/python3.11', program),
    ...noise('a'),
    file(modules[0]!, randomBytes(5000)),
    ...noise('b'),
    file(modules[1]!, randomBytes(5000)),
    ...noise('c'),
  ]);
  const root = await lab.mount(await lab.prepare([lab.layer({ bytes, context })]));
  const before = lab.registry.requests.length;
  await using handle = await open(join(root, 'usr/bin/python3.11'));
  await handle.read(Buffer.alloc(4096), 0, 4096, 0);
  await untilAsked(lab, before + 2, 'nothing is asked for that Python imports');
  const asked = lab.registry.requests.length;
  for (const module of modules) await readFile(join(root, module));
  assert.equal(lab.registry.requests.length, asked);
  await handle.close();
  await lab.unmount(root);
});

test('What is left out of a request because there is too much of it is not asked for by itself', async () => {
  const program = await readFile(systemTool('busybox'));
  const library = 'usr/lib/gcc/x/12/libstdc++.so';
  const { bytes, context } = estargzBlob([
    file('usr/bin/g++', program),
    ...noise('a'),
    file('usr/lib/gcc/x/12/cc1plus', randomBytes(20 << 20)),
    ...noise('b'),
    file(library, randomBytes(5000)),
    ...noise('c'),
  ]);
  const root = await lab.mount(await lab.prepare([lab.layer({ bytes, context })]));
  const before = lab.registry.requests.length;
  await readFile(join(root, 'usr/bin/g++'));
  await untilAsked(lab, before + 2, 'nothing is asked for that the compiler reads');
  await delay(1000); // everything that is asked for is asked for by then
  const asked = lab.registry.requests.length;
  await readFile(join(root, library));
  assert.equal(lab.registry.requests.length, asked + 1);
  await lab.unmount(root);
});

test('Over a slow link what Python imports is asked for before the program is here', async () => {
  await using lab = await LayerLab.open(toml); // whose daemon does not know of a quick link
  const program = await readFile(systemTool('busybox'));
  const module = 'usr/lib/python3.11/encodings/__pycache__/__init__.cpython-311.pyc';
  const { bytes, context } = estargzBlob([
    file('usr/bin/python3.11', program),
    ...noise('a'),
    file(module, randomBytes(5000)),
    ...noise('b'),
  ]);
  const { registry } = lab;
  const root = await lab.mount(await lab.prepare([lab.layer({ bytes, context })]));
  registry.gate = () => delay(100);
  await readFile(join(root, 'usr/share/a-5')); // by which the daemon knows the link
  const before = registry.requests.length;
  const gate = Promise.withResolvers<void>();
  registry.gate = () => gate.promise;
  const reading = readFile(join(root, 'usr/bin/python3.11'));
  try {
    await untilAsked(lab, before + 2, 'nothing is asked for but the program');
  } finally {
    gate.resolve();
    registry.gate = () => Promise.resolve();
    await reading;
  }
  const asked = registry.requests.length;
  await readFile(join(root, module));
  assert.equal(registry.requests.length, asked);
  await lab.unmount(root);
});
