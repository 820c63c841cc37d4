import { readFile, writeFile } from 'node:fs/promises';

/** The most memory that a process has had since it began, or since the peak was reset, in MB. */
export async function peakMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1000;
}

/** Has the peak begin at what the process has now (proc(5), clear_refs). */
export async function resetPeakMemory(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5');
}
