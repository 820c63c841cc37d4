import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Machine } from './machine.ts';
import type { SubjectId } from './subjects.ts';

/** One work, done once. */
export interface Measurement {
  readonly work: string;
  readonly link: string;
  readonly subject: SubjectId;
  /** From 1. */
  readonly run: number;
  readonly seconds: number;
  /** What went over the link meanwhile. */
  readonly connections: number;
  readonly requests: number;
  readonly bytes: number;
  /** The part of it that is the remote snapshotter's. */
  readonly snapshotterRequests: number;
  readonly snapshotterBytes: number;
  /** Processor time that the remote snapshotter took, and the most memory that it had so far. */
  readonly snapshotterCpuSeconds: number;
  readonly snapshotterPeakBytes: number;
  /** Which part of the machine was busy before it began, 0 to 1. */
  readonly busyBefore: number;
}

/** A link, as it was asked for and as it was found to be. */
export interface MeasuredLink {
  readonly name: string;
  readonly roundTripMs: number;
  /** Null if nothing limits it. */
  readonly megabitsPerSecond: number | null;
  readonly measuredRoundTripMs: number;
  readonly measuredMegabitsPerSecond: number;
}

/** Something that was to be measured, and the reason why it was not. */
export interface Failure {
  readonly works: readonly string[];
  readonly link: string;
  readonly subject: SubjectId;
  readonly run: number;
  readonly reason: string;
}

/** All of one run of the benchmark, as it is written to bench/results. */
export interface Results {
  readonly format: 1;
  /** When it began, in UTC. */
  readonly date: string;
  /** Whether it ran to its end. */
  complete: boolean;
  readonly runs: number;
  readonly backgroundFill: boolean;
  readonly machine: Machine;
  readonly image: { readonly name: string; readonly bytes: number; readonly layers: number };
  readonly works: readonly { readonly id: string; readonly title: string }[];
  readonly subjects: readonly { readonly id: SubjectId; readonly title: string; readonly explanation: string }[];
  readonly links: MeasuredLink[];
  readonly measurements: Measurement[];
  readonly failures: Failure[];
}

/** Writes the results as JSON, one measurement a line. */
export async function writeResults(path: string, results: Results): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const { measurements, ...rest } = results;
  const head = JSON.stringify(rest, null, 2).replace(/\n}$/, '');
  const lines = measurements.map((measurement) => `    ${JSON.stringify(measurement)}`);
  await writeFile(path, `${head},\n  "measurements": [\n${lines.join(',\n')}\n  ]\n}\n`);
}
