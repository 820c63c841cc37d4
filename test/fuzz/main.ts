/**
 * Feeds generated and mutated input to everything that reads input from outside: `npm run fuzz -- [--cases N] [--seed
 * N] [--only SUBJECT] [--case N]`. Ends with status 1, and the command that repeats it, at the first case that breaks
 * what must hold (see `runner.ts`).
 */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { Report, Task } from './runner.ts';

/** A case that takes so long does not end. */
const hangMs = 30_000;

const { values } = parseArgs({
  options: { cases: { type: 'string' }, seed: { type: 'string' }, only: { type: 'string' }, case: { type: 'string' } },
});
const task: Task = {
  seed: Number(values.seed ?? process.env['LAZYPULL_SEED'] ?? randomInt(2 ** 31)),
  cases: Number(values.cases ?? 10_000_000),
  subject: values.only,
  number: values.case === undefined ? undefined : Number(values.case),
  beat: new Int32Array(new SharedArrayBuffer(4)),
};
const started = performance.now();
const say = (text: string) => process.stdout.write(`fuzz: ${text}\n`);
say(`${task.cases} cases, seed ${task.seed}`);

const worker = new Worker(new URL('./runner.ts', import.meta.url), {
  workerData: task,
  trackUnmanagedFds: false,
  resourceLimits: { maxYoungGenerationSizeMb: 16, maxOldGenerationSizeMb: 256 },
});
let place = { subject: '', number: 0 };
let ran = 0;
worker.on('message', (report: Report) => {
  if (report.kind === 'begins') place = report;
  else if (report.kind === 'line') say(report.text);
  else if (report.kind === 'failure') fail(report.what, report.number);
  else ran = report.cases;
});
worker.on('error', (error) => fail(String(error), task.beat[0]!));

let before = -1;
const watch = setInterval(() => {
  const now = task.beat[0]!;
  if (now === before) {
    fail(`it did not end in ${hangMs / 1000} s`, now);
    void worker.terminate();
  }
  before = now;
}, hangMs);
await once(worker, 'exit');
clearInterval(watch);
const seconds = Math.round((performance.now() - started) / 1000);
const peakMb = Math.round(process.resourceUsage().maxRSS / 1000);
say(`${ran} cases in ${seconds} s, at most ${peakMb} MB, seed ${task.seed}`);
if (task.number === undefined && ran < task.cases) process.exitCode = 1;

function fail(what: string, number: number): void {
  say(`"${place.subject}" failed at case ${number}: ${what}`);
  say(`repeat it with: npm run fuzz -- --seed ${task.seed} --only "${place.subject}" --case ${number}`);
  process.exitCode = 1;
}
