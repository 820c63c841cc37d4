import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Image } from '../images.ts';
import type { Cell } from './work.ts';

/** Makes a build context of the given files. */
export async function makeContext(cell: Cell, files: Readonly<Record<string, string>>): Promise<string> {
  const context = join(cell.directory, 'context');
  await mkdir(context, { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(join(context, name), text);
  return context;
}

/** Builds a context on an image. Throws unless the build printed `expected`. */
export async function build(
  cell: Cell,
  context: string,
  image: Image | undefined,
  options: { readonly expected?: string; readonly output?: string } = {},
): Promise<void> {
  if (image === undefined) throw new Error('The image is missing');
  let printed = '';
  await cell.buildkitd.build({
    context,
    buildArgs: { BASE: `${cell.link.host}/${image.name}` },
    signal: cell.signal,
    onLine: (line) => {
      printed += `${line}\n`;
    },
    ...(options.output === undefined ? {} : { output: options.output }),
  });
  // Plain progress: "#5 0.412 hello".
  if (options.expected !== undefined && !new RegExp(`^#\\d+ \\d[\\d.]* ${options.expected}$`, 'm').test(printed))
    throw new Error(`The build did not print "${options.expected}":\n${printed}`);
}
