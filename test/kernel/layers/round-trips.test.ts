import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { estargzBlob } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import type { TestRegistry } from '../../support/registry.ts';

const mib = 1 << 20;

/**
 * When no request came for so long the client waits for the answers that it has asked for: far longer than what it does
 * between two.
 */
const quietMs = 1_000;

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open();
});
after(() => lab[Symbol.asyncDispose]());

/**
 * Has the registry answer only when nothing more is asked, and then all at once, as a link with a very long round trip
 * does. @returns how many times it did
 */
function answerInWaves(registry: TestRegistry): () => number {
  let waves = 0;
  let waiting: (() => void)[] = [];
  let timer: NodeJS.Timeout | undefined;
  registry.gate = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      waves++;
      for (const answer of waiting.splice(0)) answer();
    }, quietMs);
    return new Promise((resolve) => (waiting = [...waiting, resolve]));
  };
  return () => waves;
}

test('Thirty layers of an image are mounted after four round trips at most', async () => {
  const contents = Array.from({ length: 30 }, () => randomBytes(mib));
  const layers = contents.map((content, i) =>
    lab.layer(estargzBlob([{ path: `file-${i}`, type: 'reg', content }], mib)),
  );
  const waves = answerInWaves(lab.registry);
  const root = await lab.mount(await lab.prepare(layers));
  const mounted = waves();
  lab.registry.gate = () => Promise.resolve();
  for (const [i, content] of contents.entries()) assert.deepEqual(await readFile(join(root, `file-${i}`)), content);
  await lab.unmount(root);
  assert.ok(mounted <= 4, `${mounted} round trips`);
});
