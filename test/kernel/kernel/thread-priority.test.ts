import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { goFirstAgain, type YieldingThread } from '../../../src/kernel/thread-priority.ts';
import { LayerDirectory } from '../../../src/layers/store/layer-directory.ts';
import { WorkerPool } from '../../../src/layers/workers/pool.ts';
import { ampleMemory } from '../../../src/layers/memory-budget.ts';
import { silentLog } from '../../../src/log.ts';

/** The nice value of each thread of this process. */
function niceValues(): Map<number, number> {
  const values = new Map<number, number>();
  for (const tid of readdirSync('/proc/self/task')) {
    try {
      const stat = readFileSync(`/proc/self/task/${tid}/stat`, 'latin1');
      values.set(Number(tid), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16]));
    } catch {
      // It has ended since.
    }
  }
  return values;
}

const yielding = () => [...niceValues().values()].filter((nice) => nice === 19).length;

test('A thread that lets others go first is alone in that, and another one has it go first again', async () => {
  const module = JSON.stringify(new URL('../../../src/kernel/thread-priority.ts', import.meta.url).href);
  const script = `
    const { parentPort } = require('node:worker_threads');
    import(${module}).then(({ yieldToOthers }) => parentPort.postMessage(yieldToOthers()));
    parentPort.once('message', () => undefined);`;
  const worker = new Worker(script, { eval: true });
  const [thread] = (await once(worker, 'message')) as [YieldingThread];
  assert.equal(niceValues().get(thread.tid), 19);
  assert.equal(niceValues().get(process.pid), getPriority());
  assert.equal(yielding(), 1);
  goFirstAgain(thread);
  assert.equal(niceValues().get(thread.tid), getPriority());
  await worker.terminate();
  goFirstAgain(thread);
});

/** Threads of which the first is warming up, and has said so. */
async function warmingUp(t: TestContext): Promise<WorkerPool> {
  for (;;) {
    const threads = new WorkerPool({ ...ampleMemory, threads: 1 }, silentLog);
    t.after(() => threads.close());
    threads.warm();
    while (yielding() === 0) await delay(1);
    await delay(20); // we have been told by then
    if (yielding() > 0) return threads;
  }
}

test('WorkerPool lets other threads go first while it warms up, and not once there is work', async (t) => {
  const threads = await warmingUp(t);
  const raw = { bytes: Buffer.alloc(1), start: 0, fileBytes: 0, dataEnd: 0 };
  const { paths } = new LayerDirectory('');
  const plan = threads.plan({ format: 'estargz', raw, wanted: { layer: '', index: '' }, paths }, () => true);
  const left = yielding();
  await assert.rejects(plan);
  assert.equal(left, 0);
});

test('WorkerPool has its priority back after the warm-up', async (t) => {
  const threads = await warmingUp(t);
  await threads.warmedUp;
  assert.equal(yielding(), 0);
});
