/**
 * Asks for the size of every file system in the mount table that is below a directory, again and again, as df does, in
 * a process of its own. Writes a line to standard output and ends when one does not answer within a second while
 * another one does. Delays of a busy machine are not held against a file system.
 */
import { readFile, statfs } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

const maxMs = 1_000;
const everyMs = 250;
/** Not of ours: how long it takes is how long it takes on this machine now. */
const control = '/proc';
/** With less left of a second than that the machine is too busy to tell. */
const maxControlMs = 250;

const [, , directory = '/'] = process.argv;

for (;;) {
  for (const path of await mountPoints()) {
    if (await answers(path)) continue;
    if ((await timed(control)) > maxControlMs || (await answers(path))) continue;
    process.stdout.write(`statfs of "${path}" takes longer than ${maxMs} ms\n`);
    process.exit(1);
  }
  await delay(everyMs);
}

/** Whether it does so in time; that something is not there any more is an answer too. */
async function answers(path: string): Promise<boolean> {
  const timer = new AbortController();
  const late = delay(maxMs, false, { signal: timer.signal }).catch(() => false);
  const done = statfs(path).then(
    () => true,
    () => true,
  );
  const isInTime = await Promise.race([done, late]);
  timer.abort();
  return isInTime;
}

async function timed(path: string): Promise<number> {
  const begun = performance.now();
  await statfs(path);
  return performance.now() - begun;
}

async function mountPoints(): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).trimEnd().split('\n');
  const points = lines.map((line) =>
    line.split(' ')[4]!.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))),
  );
  return points.filter((point) => point.startsWith(directory));
}
