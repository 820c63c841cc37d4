import { glob, readdir, readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The manifests of packages, below node_modules. */
const packages = ['{,**/node_modules/}*/package.json', '{,**/node_modules/}@*/*/package.json'];

/**
 * The licences of lazypull and of everything that comes with it, as one text.
 *
 * @param library the installed package
 * @param node the package of Node
 */
export async function licencesIn(library: string, node: string): Promise<string> {
  const modules = join(library, 'node_modules');
  const manifests = await Array.fromAsync(glob(packages, { cwd: modules }));
  const sections = [await section(library), await section(node)];
  for (const manifest of manifests.toSorted()) sections.push(await section(dirname(join(modules, manifest))));
  return sections.join(`\n${'-'.repeat(80)}\n\n`);
}

async function section(directory: string): Promise<string> {
  const manifest = JSON.parse(await readFile(join(directory, 'package.json'), 'utf8')) as Record<string, string>;
  const { name, version, license } = manifest;
  const file = (await readdir(directory)).toSorted().find((entry) => /^(licen[cs]e|copying)/i.test(entry));
  const notice = join(directory, 'NOTICE');
  const texts = [
    `${name} ${version}, licence: ${license ?? 'see below'}\n`,
    file === undefined ? 'The package has no text of it.\n' : await readFile(join(directory, file), 'utf8'),
    existsSync(notice) ? await readFile(notice, 'utf8') : '',
  ];
  return texts.filter((text) => text !== '').join('\n');
}
