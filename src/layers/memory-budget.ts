/** How much memory the work on layers may take at a time. */
export interface MemoryBudget {
  /** Threads that plan, unpack and verify. */
  readonly threads: number;
  /** Heap of the thread that plans, in MB. A table of contents that takes more ends that thread instead of the program. */
  readonly planHeapMb: number;
  /** Blob bytes that may wait for them before who sends more has to wait. */
  readonly queuedBytes: number;
  /** Bytes that each of them writes before it has the kernel write them to the disk: until then they count as memory of the control group, and cannot be taken back. */
  readonly unsyncedBytes: number;
  /** Chunk tables that are in memory. */
  readonly tableBytes: number;
  /** After so many blob bytes memory is given back to the kernel while the threads are still busy. */
  readonly trimBytes: number;
  /** Whether what the first build will do is done once before it comes. */
  readonly isRehearsed: boolean;
}

const mib = 1 << 20;

/** Tables of eight layers of 20,000 files; as much in the queue as two threads unpack in some tenths of a second. */
export const ampleMemory: MemoryBudget = {
  threads: 2,
  planHeapMb: 256,
  queuedBytes: 4 * mib,
  unsyncedBytes: Number.POSITIVE_INFINITY,
  tableBytes: 12 * mib,
  trimBytes: 32 * mib,
  isRehearsed: true,
};

const littleMemory: MemoryBudget = {
  threads: 1,
  planHeapMb: 64,
  queuedBytes: mib,
  unsyncedBytes: 4 * mib,
  tableBytes: 3 * mib,
  trimBytes: 4 * mib,
  isRehearsed: false,
};

/** Below it the daemon works in small steps. */
export const littleMemoryBytes = 512 * mib;

/** @param limitBytes the memory of the control group; undefined for no limit */
export function memoryBudget(limitBytes: number | undefined): MemoryBudget {
  return limitBytes !== undefined && limitBytes < littleMemoryBytes ? littleMemory : ampleMemory;
}
