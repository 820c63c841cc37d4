import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run, tryRun } from '../test/support/program.ts';
import { repository } from '../test/support/tools.ts';

/** What a release is made of. */
export interface Source {
  /** Of package.json, the only place that has it. */
  readonly version: string;
  /** Seconds since 1970 that every file of the release has as its time. */
  readonly epoch: number;
  /** Of Git; undefined outside of a repository. */
  readonly commit: string | undefined;
  /** Whether files differ from the commit. */
  readonly changed: boolean;
}

/**
 * Reads what this checkout is. The time is SOURCE_DATE_EPOCH, else that of the commit.
 *
 * @throws if there is neither
 */
export async function readSource(): Promise<Source> {
  const manifest = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8')) as { version: string };
  const git = ['-c', `safe.directory=${repository}`, '-C', repository];
  const head = await tryRun('git', [...git, 'log', '-1', '--format=%H %ct']);
  const [commit, committed] = head.status === 0 ? head.stdout.trim().split(' ') : [];
  const changed = commit !== undefined && (await run('git', [...git, 'status', '--porcelain'])) !== '';
  const time = process.env['SOURCE_DATE_EPOCH'] ?? committed ?? '';
  if (!/^\d{1,11}$/.test(time)) {
    throw new Error('Cannot tell the time of this release: set SOURCE_DATE_EPOCH, or run in a checkout of Git');
  }
  return { version: manifest.version, epoch: Number(time), commit, changed };
}
