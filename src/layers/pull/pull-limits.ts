import { availableParallelism } from 'node:os';
import type { MemoryBudget } from '../memory-budget.ts';
import { segmentBytes } from './blob-stream.ts';
import type { PullLimits } from './puller.ts';

/**
 * Layers that are made at a time, by two threads each. More do not make a pull faster: two inflate as much as a link of
 * 1 Gbit brings.
 */
const maxThreads = 4;

/** Requests of one layer at a time. */
const maxConnections = 4;

/** Memory for the answers of all layers, before they are inflated. */
const requestBytes = 8 * segmentBytes;

/** The limits for pulling layers, if there is as much memory as `budget` says. */
export function pullLimits(budget: MemoryBudget): PullLimits {
  const isAmple = budget.requestBytes === Number.POSITIVE_INFINITY;
  const threads = isAmple ? Math.min(availableParallelism(), maxThreads) : 1;
  return {
    threads,
    littleThreads: Math.max(1, threads >> 1),
    heapMb: budget.planHeapMb,
    connections: isAmple ? maxConnections : 1,
    requestBytes: isAmple ? requestBytes : segmentBytes,
    unsyncedBytes: budget.unsyncedBytes,
  };
}
