import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { run } from '../../support/program.ts';
import { repository } from '../../support/tools.ts';
import type { ReportedImage } from '../../../src/status/report.ts';

const fileBytes = 300_000;

let lab: LayerLab;
before(async () => {
  lab = await LayerLab.open('no_background_fetch = true\n');
});
after(() => lab[Symbol.asyncDispose]());

const answerOf = async (...args: string[]): Promise<string> => {
  const main = join(repository, 'src', 'bin', 'lazypull.ts');
  return run(process.execPath, [main, 'report', '--address', lab.socket, ...args]);
};

const images = async (): Promise<ReportedImage[]> =>
  (JSON.parse(await answerOf('--json')) as { images: ReportedImage[] }).images;

/** A cell of a strip, as JSON has it. */
interface Cell {
  read: number;
  present: number;
  readMs?: number;
}

test('lazypull report says what was read of a layer, where and when, even after a restart and after the end', async () => {
  const files = Array.from(
    { length: 40 },
    (_, i): FileSpec => ({ path: `file-${String(i).padStart(2, '0')}`, type: 'reg', content: randomBytes(fileBytes) }),
  );
  const blob = estargzBlob(files);
  const layer = lab.layer(blob);
  const snapshot = await lab.prepare([layer]);
  const root = await lab.mount(snapshot);
  await readFile(join(root, 'file-20'));
  await readFile(join(root, 'file-21'));
  await lab.unmount(root);

  const [image] = await images();
  const [use] = image?.layers.map((each) => each.use) ?? [];
  assert.ok(image !== undefined && use !== undefined);
  assert.deepEqual([use.digest, use.how, use.isWhole, use.isLeft], [layer.digest, 'toc', false, false]);
  assert.equal(use.readBytes, 2 * fileBytes);
  assert.equal(use.blobBytes, blob.bytes.length);
  assert.ok(use.waits >= 1 && use.waitedMs > 0 && use.longestWaitMs <= use.waitedMs + 1);
  const { demand, prefetch, index } = use.fetched;
  assert.ok(demand >= fileBytes && index > 0);
  assert.equal(image.totals.savedBytes, blob.bytes.length - image.totals.fetchedBytes);
  assert.ok(demand + prefetch + index < blob.bytes.length);
  assert.equal(image.endedMs, undefined);
  const cells = use.strip as unknown as Cell[];
  const read = cells.flatMap((cell, i) => (cell.read > 0 ? [i] : []));
  assert.ok(
    read.every((i) => i >= 46 && i <= 53),
    `cells ${read.join(' ')} were read`,
  );
  assert.ok(
    read.length >= 4 && read.every((i) => cells[i]!.readMs !== undefined && cells[i]!.present >= cells[i]!.read),
  );

  const text = await answerOf();
  assert.match(text, new RegExp(`^${layer.digest.slice(7, 19)} .* lazy +[.-]*#+`, 'm'));

  await lab.restart('SIGTERM');
  const [after, ...others] = await images();
  assert.deepEqual(others, []);
  assert.equal(after?.startedMs, image.startedMs);
  assert.equal(after?.layers[0]?.use?.readBytes, 2 * fileBytes);
  await lab.remove(snapshot, 1);
  const [ended] = await images();
  assert.ok((ended?.endedMs ?? 0) >= image.startedMs);
  assert.equal(ended?.layers[0]?.use?.fetched.demand, demand);
});

test('lazypull report says of a layer that was left to the client why', async () => {
  assert.equal(await lab.isLazy({ digest: `sha256:${'0'.repeat(64)}`, annotations: {} }), false);
  const [image] = await images();
  const left = image?.layers.filter(({ use }) => use === undefined);
  assert.equal(left?.length, 1);
  assert.notEqual(left[0]?.reason, undefined);
  const path = join(lab.workspace.path, 'report.html');
  await answerOf('--html', path);
  assert.match(await readFile(path, 'utf8'), /<strong>NOT LAZY<\/strong>/);
});
