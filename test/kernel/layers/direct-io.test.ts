import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { mountTable } from '../../../src/kernel/mount.ts';
import { estargzBlob } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { run, tryRun } from '../../support/program.ts';

const content = randomBytes(3 << 20);
const blob = estargzBlob([{ path: 'file', type: 'reg', mode: 0o644, content }], 1 << 20);

/** What dd says of a file, or what it reads of it past the page cache. */
async function readDirectly(file: string): Promise<string> {
  const { status, stderr } = await tryRun('dd', [`if=${file}`, 'of=/dev/null', 'bs=4096', 'count=1', 'iflag=direct']);
  if (status !== 0) return stderr;
  return (await run('bash', ['-o', 'pipefail', '-c', `dd if=${file} bs=1M iflag=direct | sha256sum`])).slice(0, 64);
}

/** The files behind the loop devices of this machine. */
async function loopFiles(): Promise<string[]> {
  const devices = (await readdir('/sys/block')).filter((name) => name.startsWith('loop'));
  return Promise.all(devices.map((name) => readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '')));
}

test('With direct_io files are read past the page cache, also through a killed daemon, and no loop device is left', async () => {
  let names: string[];
  {
    await using lab = await LayerLab.open('[snapshotter]\ndirect_io = true\n');
    const image = await lab.prepare([lab.layer(blob), lab.layer(estargzBlob([{ path: 'other', type: 'reg' }]))]);
    const mounted = await lab.mount(image, true);
    assert.equal(await readDirectly(join(mounted, 'file')), hash('sha256', content));
    names = (await mountTable(lab.root)).filter(({ type }) => type === 'erofs').map(({ source }) => source);
    assert.equal(names.length, 2);
    const files = await loopFiles();
    assert.ok(
      names.every((name) => files.some((file) => file.trimEnd() === name)),
      `${names.join()} in ${files.join()}`,
    );
    await lab.restart('SIGKILL');
    await lab.dropCaches();
    assert.equal(await readDirectly(join(mounted, 'file')), hash('sha256', content));
    assert.deepEqual(lab.complaints, []);
    await lab.unmount(mounted);
  }
  const files = await loopFiles();
  assert.deepEqual(
    names.filter((name) => files.some((file) => file.trimEnd() === name)),
    [],
  );
});

test('Without it they are not: the open fails, as on other file systems that cannot', async () => {
  await using lab = await LayerLab.open();
  const mounted = await lab.mount(await lab.prepare([lab.layer(blob)]));
  assert.match(await readDirectly(join(mounted, 'file')), /Invalid argument/);
  await lab.unmount(mounted);
});
