import { maxTocBytes } from '../formats/limits.ts';

/** How much memory the work on layers may take at a time. */
export interface MemoryBudget {
  /** Threads that plan, unpack and verify. */
  readonly threads: number;
  /** Heap of the thread that plans, in MB. A table of contents that takes more ends that thread instead of the program. */
  readonly planHeapMb: number;
  /** How long an index may be, decompressed: planning takes a few times as much. Layers with a longer one are not lazy. */
  readonly indexBytes: number;
  /** Blob bytes that may wait for them before who sends more has to wait. */
  readonly queuedBytes: number;
  /** Memory of the answers that arrive at one time. */
  readonly requestBytes: number;
  /** Bytes that each of them writes before it has the kernel write them to the disk: until then they count as memory of the control group, and cannot be taken back. */
  readonly unsyncedBytes: number;
  /** Ends of layers, and plans of them, that are there before they are asked for: how many, and how much memory those plans take. */
  readonly tailsAhead: number;
  readonly plansAhead: number;
  readonly plansAheadBytes: number;
  /** Chunk tables that are in memory. */
  readonly tableBytes: number;
  /** After so many blob bytes memory is given back to the kernel while the threads are still busy. */
  readonly trimBytes: number;
  /** Whether what the first build will do is done once before it comes. */
  readonly warmsUp: boolean;
}

const mib = 1 << 20;

/** Tables of eight layers of 20,000 files; as much in the queue as two threads unpack in some tenths of a second. */
export const ampleMemory: MemoryBudget = {
  threads: 2,
  planHeapMb: 256,
  indexBytes: maxTocBytes,
  queuedBytes: 4 * mib,
  requestBytes: Number.POSITIVE_INFINITY,
  unsyncedBytes: Number.POSITIVE_INFINITY,
  tailsAhead: 48,
  plansAhead: 8,
  plansAheadBytes: 32 * mib,
  tableBytes: 12 * mib,
  trimBytes: 32 * mib,
  warmsUp: true,
};

/** What the daemon and its helpers take while layers are read, and none is planned. */
const servingBytes = 110 * mib;

/** What planning takes of memory for each byte of a table of contents, with some to spare. */
const planFactor = 5;

const littleMemory: Omit<MemoryBudget, 'indexBytes'> = {
  threads: 1,
  planHeapMb: 64,
  queuedBytes: mib,
  requestBytes: 12 * mib,
  unsyncedBytes: 4 * mib,
  tailsAhead: 6,
  plansAhead: 1,
  plansAheadBytes: 4 * mib,
  tableBytes: 3 * mib,
  trimBytes: 4 * mib,
  warmsUp: false,
};

/** Below it the daemon works in small steps. */
const littleMemoryBytes = 512 * mib;

/** @param limitBytes the memory of the control group; undefined for no limit */
export function memoryBudget(limitBytes: number | undefined): MemoryBudget {
  if (limitBytes === undefined || limitBytes >= littleMemoryBytes) return ampleMemory;
  return { ...littleMemory, indexBytes: Math.max(limitBytes - servingBytes, mib) / planFactor };
}
