import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The command line that runs `lazypull` again: the launcher of a checkout, else this Node with the built main. */
export function selfCommand(): string[] {
  const launcher = fileURLToPath(new URL('../../bin/lazypull', import.meta.url));
  if (existsSync(launcher)) return [launcher];
  return [process.execPath, fileURLToPath(new URL('../bin/lazypull.js', import.meta.url))];
}
