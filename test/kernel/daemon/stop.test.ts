import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import type { Fault } from '../../support/registry.ts';
import { mountsBelow } from '../../support/workspace.ts';

const mib = 1 << 20;

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open();
});
beforeEach(() => lab.registry.forgetFaults());
after(() => lab[Symbol.asyncDispose]());

/** The mount point of a layer that was not read. */
async function mountLayer(): Promise<string> {
  const files: FileSpec[] = [{ path: 'file', type: 'reg', content: randomBytes(3 * mib) }];
  return lab.mount(await lab.prepare([lab.layer(estargzBlob(files, mib))]));
}

/** A process in a mount namespace of its own, which has copies of all mounts. */
async function elsewhere(script: string) {
  const child = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', `echo started; ${script}`], {
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  await once(child.stdout, 'data');
  return {
    child,
    [Symbol.dispose]() {
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {
        // It has ended.
      }
    },
  };
}

for (const isRead of [false, true]) {
  const reads = isRead ? ', and reads what does not come' : '';
  test(`A daemon ends as it should while another mount namespace has its layers${reads}`, async () => {
    const directory = await mountLayer();
    lab.registry.script({ path: /blobs/ }, ...Array<Fault>(100).fill({ kind: 'stall', after: -1 }));
    using _other = await elsewhere(isRead ? `cat '${join(directory, 'file')}' >/dev/null; sleep 600` : 'sleep 600');
    if (isRead) await delay(500);
    await lab.unmount(directory);
    const { program } = lab.daemon;
    process.kill(program.pid, 'SIGTERM');
    await program.ended;
    const messages = lab.daemon.log().map(({ msg }) => msg);
    assert.equal(messages.at(-1), 'Stopped');
    assert.ok(!messages.includes('Ends without cleaning up'));
    assert.deepEqual(
      (await mountsBelow(lab.root)).filter((path) => path !== lab.root),
      [],
    );
    lab.registry.forgetFaults();
    await lab.restart('SIGKILL');
  });
}
