import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { repository } from './tools.ts';

/** Copies the log files below `directory` to .cache/log/`name`, in place of what is there. @returns that directory */
export async function keepLogs(directory: string, name: string): Promise<string> {
  const kept = join(repository, '.cache', 'log', name);
  await rm(kept, { recursive: true, force: true });
  await mkdir(kept, { recursive: true });
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.log')) continue;
    await cp(join(entry.parentPath, entry.name), join(kept, `${basename(entry.parentPath)}-${entry.name}`));
  }
  return kept;
}
