/**
 * The thread that runs the cases. A case holds when it returns or throws a LazypullError, in less than a second and
 * with less memory than the bound; `main.ts` watches that it ends.
 */
import { setImmediate } from 'node:timers/promises';
import { inspect } from 'node:util';
import { parentPort, workerData } from 'node:worker_threads';
import fc from 'fast-check';
import { LazypullError } from '../../src/errors.ts';
import { trimMemory } from '../../src/kernel/memory.ts';
import { mutate } from './mutate.ts';
import { Random } from './random.ts';
import type { Subject } from './subject.ts';
import { subjects } from './subjects.ts';

const maxCaseMs = 1000;
const maxMemoryMb = 500;
const collectAtMb = 400;
const collectAgainMb = 15;

/** Where the memory is collected next: what is not given back then is not looked for again until there is more. */
let collectNextAtMb = collectAtMb;

/** Cases that share inputs: some are tried as they were made, the others are mutations of them. */
const batchCases = 4000;
const batchInputs = 100;
const memoryEvery = 100;

/** What to run: all subjects or one of them, all cases or one of them. */
export interface Task {
  readonly seed: number;
  readonly cases: number;
  readonly subject: string | undefined;
  readonly number: number | undefined;
  /** The number of the case that runs. */
  readonly beat: Int32Array;
}

export type Report =
  | { readonly kind: 'begins'; readonly subject: string; readonly number: number }
  | { readonly kind: 'line'; readonly text: string }
  | { readonly kind: 'failure'; readonly what: string; readonly number: number }
  | { readonly kind: 'ran'; readonly cases: number };

const { seed, cases, subject: only, number: onlyNumber, beat } = workerData as Task;
const tell = (report: Report) => parentPort!.postMessage(report);
let ran = 0;

try {
  const chosen = subjects.filter(({ name }) => only === undefined || name === only);
  if (chosen.length === 0) throw new Error(`The subjects are ${subjects.map(({ name }) => `"${name}"`).join(', ')}`);
  const weights = chosen.reduce((sum, { weight }) => sum + weight, 0);
  for (const subject of chosen) {
    tell({ kind: 'begins', subject: subject.name, number: 0 });
    if (onlyNumber === undefined) await runAll(subject, Math.ceil((cases * subject.weight) / weights));
    else await runCase(subject, onlyNumber, batchOf(subject, onlyNumber));
    await subject.close?.();
  }
} catch (error) {
  tell({ kind: 'failure', what: inspect(error), number: beat[0]! });
}
tell({ kind: 'ran', cases: ran });

async function runAll(subject: Subject, count: number): Promise<void> {
  const started = performance.now();
  let batch: Batch | undefined;
  for (let number = 0; number < count; number++) {
    if (number % batchCases === 0) batch = batchOf(subject, number);
    await runCase(subject, number, batch!);
    ran++;
    if (number % memoryEvery !== 0) continue;
    await setImmediate(); // zlib frees its buffers then
    await checkMemory();
  }
  const ms = performance.now() - started;
  const mb = Math.round(process.memoryUsage.rss() / 1e6);
  tell({
    kind: 'line',
    text: `${subject.name}: ${count} cases, ${Math.round((ms / count) * 1000)} µs each, ${mb} MB after them`,
  });
}

interface Batch {
  readonly inputs: readonly Buffer[];
  readonly tokens: readonly Buffer[];
}

function batchOf({ inputs, tokens = [] }: Subject, number: number): Batch {
  const batch = Math.floor(number / batchCases);
  return {
    inputs: fc.sample(inputs, { seed: (seed * 31 + batch) | 0, numRuns: batchInputs }),
    tokens: tokens.map((token) => Buffer.from(token, 'latin1')),
  };
}

async function runCase(subject: Subject, number: number, { inputs, tokens }: Batch): Promise<void> {
  beat[0] = number;
  const random = () => new Random(seed, hashOf(subject.name), number);
  const make = random();
  const input = inputs[number % batchCases] ?? mutate(make.pick(inputs), make.pick(inputs), tokens, make);
  let fastestMs = Infinity;
  // The machine may have been busy: what is slow is slow each time.
  for (let tries = 0; tries < 3; tries++) {
    const started = performance.now();
    try {
      const running = subject.run(Buffer.from(input), random());
      if (running !== undefined) await running; // awaiting what is no promise costs more than most cases
    } catch (error) {
      if (!(error instanceof LazypullError)) throw new Error(`The input ${shown(input)} fails`, { cause: error });
    }
    fastestMs = Math.min(fastestMs, performance.now() - started);
    if (fastestMs < maxCaseMs) return;
  }
  throw new Error(`The input ${shown(input)} takes ${Math.round(fastestMs)} ms`);
}

/**
 * V8 lets buffers of dead cases pile up when it has no reason to look, and so does the C library with what V8 gave
 * back; they do not count.
 */
async function checkMemory(): Promise<void> {
  if (process.memoryUsage.rss() / 1e6 < collectNextAtMb) return;
  (globalThis as { gc?: () => void }).gc?.();
  await trimMemory();
  const mb = process.memoryUsage.rss() / 1e6;
  if (mb > maxMemoryMb) throw new Error(`The process has ${Math.round(mb)} MB`);
  collectNextAtMb = Math.max(collectAtMb, mb + collectAgainMb);
}

function shown(input: Buffer): string {
  return JSON.stringify(input.toString('latin1', 0, 2000));
}

function hashOf(name: string): number {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.charCodeAt(0)) | 0;
  return hash;
}
