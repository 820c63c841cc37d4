import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';

type File = FileSpec & { content: Buffer };

/** How long the registry takes to answer: long enough to see what is asked for meanwhile. */
const answerMs = 700;

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open('no_background_fetch = true\n');
});
after(() => lab[Symbol.asyncDispose]());

/** A layer of 40 files of 300 kB. */
function makeLayer() {
  const files = Array.from(
    { length: 40 },
    (_, i): File => ({ path: `file-${i}`, type: 'reg', content: randomBytes(300_000) }),
  );
  const layer = lab.layer(estargzBlob(files));
  const hex = layer.digest.slice('sha256:'.length);
  const read = async (snapshot: string, wanted: readonly number[]) => {
    const root = await lab.mount(snapshot);
    try {
      for (const i of wanted) assert.ok((await readFile(join(root, `file-${i}`))).equals(files[i]!.content));
    } finally {
      await lab.unmount(root);
    }
  };
  /** Removes the image and what is kept of the layer, but its trace. */
  const forget = async (snapshot: string) => {
    await lab.remove(snapshot, 1);
    await lab.restart('SIGTERM'); // which has closed the layer before it ends
    assert.ok(existsSync(join(lab.root, 'traces', `${hex}.json`)), 'no trace is kept');
    await rm(join(lab.root, 'layers', hex), { recursive: true });
    lab.registry.requests.length = 0;
  };
  return { layer, hex, read, forget };
}

test('What was read of a layer is asked for together with its index when it is new again', async () => {
  const { layer, hex, read, forget } = makeLayer();
  const first = await lab.prepare([layer]);
  await read(first, [3, 20]);
  await forget(first);

  const isBlob = { path: new RegExp(hex) };
  lab.registry.script(isBlob, { kind: 'delay', ms: answerMs }, { kind: 'delay', ms: answerMs });
  const started = performance.now();
  const preparing = lab.prepare([layer]);
  while (lab.registry.count(isBlob) < 2) {
    assert.ok(performance.now() - started < answerMs, 'one request waits for the answer to the other');
    await delay(5);
  }
  const second = await preparing;
  await read(second, [20, 3]);
  assert.equal(lab.registry.count(isBlob), 2, 'what the trace names needs no further request');
  await read(second, [30]);
  assert.equal(lab.registry.count(isBlob), 3);
  await lab.remove(second, 1);
});

test('A trace that cannot be read is no reason to fail', async () => {
  const { layer, hex, read } = makeLayer();
  await mkdir(join(lab.root, 'traces', `${hex}.json`), { recursive: true });
  const snapshot = await lab.prepare([layer]);
  await read(snapshot, [7]);
  await lab.remove(snapshot, 1);
});
