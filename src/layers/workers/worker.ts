/**
 * A thread that plans images, inflates and verifies chunks, writes them to the disk files of their layers, and verifies
 * existing ones.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { checkChunk } from '../../chunks/checked-chunk.ts';
import type { ChunkTable } from '../../chunks/chunk-table.ts';
import { Formats } from '../../formats/index.ts';
import type { LayerFormat } from '../../formats/layer-format.ts';
import { Fronts } from '../../fronts/index.ts';
import { codeOf, type ErrorCode, hintOf, LazypullError, messageOf } from '../../errors.ts';
import { writeBack } from '../../kernel/writeback.ts';
import { goFirstAgain, yieldToOthers, type YieldingThread } from '../../kernel/thread-priority.ts';
import { BufferPressure } from '../../util/buffer-pressure.ts';
import type { EndCommand } from '../../util/end-worker.ts';
import { planFiles, type Planned, type PlanRequest } from '../store/plan-files.ts';
import { warmUpPlanning, warmUpUnpacking } from './thread-warm-up.ts';
import { residency } from '../../chunks/residency.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';

/** A layer's disk file that chunks are written to. */
export interface UnpackTarget {
  readonly id: number;
  readonly diskPath: string;
  /** The name of its format. */
  readonly format: string;
  readonly table: ChunkTable;
  readonly codecData?: SharedArrayBuffer | undefined;
  /** Path of the index file, in which the parts that the codec needs are present. */
  readonly indexPath?: string | undefined;
  readonly resident: Uint8Array;
}

/** Chunks [first, last) of a target to verify. */
export interface VerifyCommand extends ChunkRange {
  readonly kind: 'verify';
  readonly id: number;
}

/** Chunks [first, last) of a target, and the blob bytes from `blobOffset` on that hold them. */
export interface UnpackCommand extends ChunkRange {
  readonly kind: 'unpack';
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly blobOffset: number;
  /** Whether readers wait: then failures have the content that the disk refused. */
  readonly isAwaited: boolean;
}

export interface PlanCommand {
  readonly kind: 'plan';
  readonly request: PlanRequest;
}

/** Commands with an answer. */
export type JobCommand = PlanCommand | UnpackCommand | VerifyCommand;

export type WorkerCommand =
  | EndCommand
  | { kind: 'add'; target: UnpackTarget }
  | { kind: 'remove'; id: number }
  | { kind: 'warm-up' }
  /** Ends the warm-up. */
  | { kind: 'attend' }
  | { kind: 'rest' }
  | { kind: 'job'; job: number; command: JobCommand };

export interface Failure {
  readonly chunk: number;
  /** `ResourceExhausted` if the disk refused the chunk; DataLoss if its bytes are wrong. */
  readonly code: ErrorCode;
  readonly message: string;
  /** The verified content that the disk refused, if a reader waits for it. */
  readonly content?: Uint8Array;
}

/**
 * For `unpack` and `verify`, the chunks that failed, with the reason: the other chunks are resident. For `plan`, the
 * result or the error.
 */
export type JobResult = { failures: Failure[] } | { planned: Planned } | { error: JobError };

/** An error of a thread. */
export interface JobError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string | undefined;
}

export type WorkerAnswer =
  | { job: number; result: JobResult }
  | { rested: true }
  /** The warm-up begins. If there is work for the thread, it must get its priority back. */
  | { yields: YieldingThread }
  | { warmedUp: true };

/** Data that a thread is started with. */
export interface WorkerPoolData {
  /** Bytes that it writes before it makes the kernel write them to the disk. */
  readonly unsyncedBytes: number;
  /** `Formats.modules`. */
  readonly formats: readonly string[];
  /** `Fronts.modules`. */
  readonly fronts: readonly string[];
}

interface OpenTarget extends UnpackTarget {
  readonly fd: number;
}

/** A target, or why its disk file cannot be opened. */
type Opened = OpenTarget | { readonly problem: string };

/** How much of a disk file is read at a time to verify it, unless a chunk is longer. */
const spanBytes = 1 << 20;

/** The kernel's unit for cached data of a file, in bytes. */
const pageBytes = 4096;

const port = parentPort;
if (port === null) throw new Error('Cannot run outside a worker thread');
const data = workerData as WorkerPoolData;
const { unsyncedBytes: maxUnsyncedBytes } = data;
const formats = await Formats.load(data.formats);
const fronts = await Fronts.load(data.fronts);
const targets = new Map<number, Opened>();
const pressure = new BufferPressure();
let unsyncedBytes = 0;
let isWarmUpOver = false;
let tail: Promise<void> = Promise.resolve();

port.on('message', (command: WorkerCommand) => {
  isWarmUpOver ||= command.kind === 'job' || command.kind === 'end' || command.kind === 'attend';
  // In the order of arrival: a target is removed after the jobs that were sent before.
  tail = tail.then(() => run(command));
});

async function run(command: WorkerCommand): Promise<void> {
  if (command.kind === 'end') {
    port!.close();
  } else if (command.kind === 'add') {
    targets.set(command.target.id, openTarget(command.target));
  } else if (command.kind === 'remove') {
    const target = targets.get(command.id);
    targets.delete(command.id);
    if (target === undefined || 'problem' in target) return;
    closeSync(target.fd);
    pressure.released(target.table.digest.buffer.byteLength);
  } else if (command.kind === 'warm-up') {
    await warmUp();
    port!.postMessage({ warmedUp: true } satisfies WorkerAnswer);
  } else if (command.kind === 'rest') {
    pressure.rest(true);
    port!.postMessage({ rested: true } satisfies WorkerAnswer);
  } else if (command.kind === 'job') {
    const result = await resultOf(command.command);
    port!.postMessage({ job: command.job, result } satisfies WorkerAnswer);
    if ('planned' in result) pressure.released(result.planned.table.digest.buffer.byteLength);
  }
}

async function warmUp(): Promise<void> {
  const goesOn = (): boolean => !isWarmUpOver;
  const yields = yieldToOthers();
  if (yields !== undefined) port!.postMessage({ yields } satisfies WorkerAnswer);
  await warmUpPlanning(fronts.chosen, goesOn);
  if (goesOn()) await warmUpUnpacking(goesOn);
  if (yields !== undefined) goFirstAgain(yields);
}

async function resultOf(command: JobCommand): Promise<JobResult> {
  if (command.kind === 'plan') return plan(command.request);
  const target = targets.get(command.id);
  if (target === undefined) return { failures: failuresOf(command, 'Canceled', 'The layer was closed') };
  if ('problem' in target) return { failures: failuresOf(command, 'Unavailable', target.problem) };
  return { failures: command.kind === 'verify' ? verify(target, command) : await unpack(target, command) };
}

function openTarget(target: UnpackTarget): Opened {
  try {
    return { ...target, fd: openSync(target.diskPath, 'r+') };
  } catch (error) {
    return { problem: `Cannot open the disk file: ${messageOf(error)}` };
  }
}

function plan(request: PlanRequest): JobResult {
  try {
    return { planned: planFiles(formatNamed(request.format), fronts.chosen, request) };
  } catch (error) {
    const hint = hintOf(error);
    return { error: { code: codeOf(error), message: messageOf(error), ...(hint !== undefined && { hint }) } };
  }
}

/** @throws Unimplemented for a format that this program does not know */
function formatNamed(name: string): LayerFormat {
  const format = formats.named(name);
  if (format !== undefined) return format;
  throw new LazypullError('Unimplemented', `This version does not know the layer format "${name}"`);
}

/** A failure for each chunk of a job. */
function failuresOf({ first, last }: ChunkRange, code: ErrorCode, message: string): Failure[] {
  return Array.from({ length: last - first }, (_, i) => ({ chunk: first + i, code, message }));
}

async function unpack(target: OpenTarget, command: UnpackCommand): Promise<Failure[]> {
  const { first, last, blobOffset } = command;
  const { table, codecData } = target;
  const failures: Failure[] = [];
  const bytes = Buffer.from(command.bytes.buffer, command.bytes.byteOffset, command.bytes.byteLength);
  using index = new IndexReader(target.indexPath);
  const readIndex = (start: number, end: number): Buffer => index.read(start, end);
  const run = { table, chunks: { first, last }, bytes, blobOffset, codecData, readIndex };
  for await (const unpacked of formatNamed(target.format).codec.unpack(run)) {
    if ('error' in unpacked) {
      failures.push({ chunk: unpacked.chunk, code: unpacked.error.code, message: messageOf(unpacked.error) });
      continue;
    }
    try {
      write(target, unpacked.chunk, unpacked.content);
      Atomics.store(target.resident, unpacked.chunk, residency.verified);
      pressure.dropped(unpacked.content.length);
      syncSome(target, unpacked.content.length);
    } catch (error) {
      const message = `Cannot write to the disk file: ${messageOf(error)}`;
      const failure: Failure = { chunk: unpacked.chunk, code: 'ResourceExhausted', message };
      failures.push(command.isAwaited ? { ...failure, content: new Uint8Array(unpacked.content) } : failure);
    }
  }
  return failures;
}

/** Opens an index file when it is first read. */
class IndexReader implements Disposable {
  readonly #path: string | undefined;
  #fd: number | undefined;

  constructor(path: string | undefined) {
    this.#path = path;
  }

  read(start: number, end: number): Buffer {
    if (this.#path === undefined) throw new LazypullError('DataLoss', 'There is no index file of the layer');
    this.#fd ??= openSync(this.#path, 'r');
    return read(this.#fd, start, end - start);
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}

/**
 * If too many bytes are unwritten, makes the kernel write its whole pages of the file. An error comes again when the
 * layer is synced.
 */
function syncSome({ fd }: OpenTarget, bytes: number): void {
  unsyncedBytes += Math.ceil(bytes / pageBytes) * pageBytes;
  if (unsyncedBytes < maxUnsyncedBytes) return;
  unsyncedBytes = 0;
  writeBack(fd);
  pressure.collectNow();
}

/** Verifies the chunks that are on the disk. Wrong ones are absent from then on, and are the result. */
function verify({ fd, table, resident }: OpenTarget, { first, last }: ChunkRange): Failure[] {
  const failures: Failure[] = [];
  for (let chunk = first; chunk < last; ) {
    const start = table.diskOffset[chunk]!;
    let end = chunk;
    while (end < last && diskEnd(table, end) - start <= spanBytes) end++;
    end = Math.max(end, chunk + 1);
    const span = readTogether(fd, start, diskEnd(table, end - 1) - start);
    for (; chunk < end; chunk++) {
      if (Atomics.load(resident, chunk) === residency.absent) continue;
      const at = table.diskOffset[chunk]! - start;
      const message = problemOf(
        table,
        chunk,
        () => span?.subarray(at, at + table.size[chunk]!) ?? readChunk(fd, table, chunk),
      );
      Atomics.store(resident, chunk, message === undefined ? residency.verified : residency.absent);
      if (message !== undefined) failures.push({ chunk, code: 'DataLoss', message });
    }
    pressure.dropped(span?.length ?? 0);
  }
  return failures;
}

/** What is wrong with the content of a chunk; undefined if nothing is. */
function problemOf(table: ChunkTable, chunk: number, read: () => Buffer): string | undefined {
  try {
    const checked = checkChunk(table, chunk, read());
    return 'error' in checked ? messageOf(checked.error) : undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function diskEnd({ diskOffset, size }: ChunkTable, chunk: number): number {
  return diskOffset[chunk]! + size[chunk]!;
}

/** Bytes of the disk file; undefined if they cannot all be read. */
function readTogether(fd: number, position: number, size: number): Buffer | undefined {
  try {
    const content = read(fd, position, size);
    return content.length === size ? content : undefined;
  } catch {
    return undefined;
  }
}

/** The bytes of a chunk on the disk; fewer if the file ends before. */
function readChunk(fd: number, table: ChunkTable, chunk: number): Buffer {
  return read(fd, table.diskOffset[chunk]!, table.size[chunk]!);
}

function read(fd: number, position: number, size: number): Buffer {
  const content = Buffer.allocUnsafeSlow(size);
  for (let done = 0; done < size; ) {
    const n = readSync(fd, content, done, size - done, position + done);
    if (n === 0) return content.subarray(0, done);
    done += n;
  }
  return content;
}

/** Zeros need no space: until something is written, the place of a chunk is a hole, which reads as zeros. */
function write({ fd, table }: OpenTarget, chunk: number, content: Buffer): void {
  if (isZeros(content)) {
    const there = readChunk(fd, table, chunk);
    if (there.length === content.length && isZeros(there)) return;
  }
  writeWhole(fd, content, table.diskOffset[chunk]!);
}

const zeros = Buffer.alloc(64 << 10);

function isZeros(content: Buffer): boolean {
  for (let at = 0; at < content.length; at += zeros.length) {
    const piece = content.subarray(at, at + zeros.length);
    if (piece.compare(zeros, 0, piece.length) !== 0) return false;
  }
  return true;
}

function writeWhole(fd: number, content: Buffer, position: number): void {
  for (let done = 0; done < content.length; ) {
    const n = writeSync(fd, content, done, content.length - done, position + done);
    if (n === 0) throw new LazypullError('ResourceExhausted', 'The disk took no bytes');
    done += n;
  }
}
