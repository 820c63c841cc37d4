import { maxTocBytes } from '../formats/limits.ts';

/** How much memory the work on layers may take at a time. */
export interface MemoryBudget {
  /** Threads that plan, unpack and verify. */
  readonly threads: number;
  /**
   * Heap of the planning thread, in MB. A table of contents that takes more ends that thread instead of the program.
   */
  readonly planHeapMb: number;
  /**
   * Maximum length of a decompressed index: planning takes several times as much. Layers with a longer one are not
   * lazy.
   */
  readonly indexBytes: number;
  /** Blob bytes that may wait for the threads; beyond that a sender has to wait. */
  readonly queuedBytes: number;
  /** Memory of the answers that arrive at one time. */
  readonly requestBytes: number;
  /**
   * Bytes that each of them writes before it makes the kernel write them to the disk. Until then they count as memory
   * of the control group, and cannot be reclaimed.
   */
  readonly unsyncedBytes: number;
  /**
   * Ends of layers, and plans of them, that are made before they are asked for: how many, and the memory of the plans.
   */
  readonly tailsAhead: number;
  readonly plansAhead: number;
  readonly plansAheadBytes: number;
  /** Bytes of chunk tables in memory. */
  readonly tableBytes: number;
  /** After so many blob bytes, memory is returned to the kernel even while the threads are busy. */
  readonly trimBytes: number;
  /** Whether the program does once what the first build will do, before that comes. */
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

/** Memory of the daemon and its helpers while layers are read, and none is planned. */
const servingBytes = 110 * mib;

/** Memory for planning each byte of a table of contents, with a margin. */
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

/** With less the daemon works in small steps. */
const littleMemoryBytes = 512 * mib;

/** @param limitBytes the memory of the control group; undefined for no limit */
export function memoryBudget(limitBytes: number | undefined): MemoryBudget {
  if (limitBytes === undefined || limitBytes >= littleMemoryBytes) return ampleMemory;
  return { ...littleMemory, indexBytes: Math.max(limitBytes - servingBytes, mib) / planFactor };
}
