/**
 * The page of what the library exports, in Markdown: each declaration as programs see it.
 *
 * @param format formats TypeScript
 */
export function apiPage(declarations: ReadonlyMap<string, string>, format: (code: string) => string): string {
  const parts = exportsOf(declarations.get('index.d.ts') ?? '')
    .map(({ name, module }) => declarationOf(declarations.get(module) ?? '', name))
    .toSorted(byName);
  const codes = format(parts.map(({ text }) => text).join(separator)).split(separator.trim());
  return (
    [
      '<!-- Made by "npm run gen:docs" from the declarations of src/index.ts; do not edit. -->',
      '# The library',
      'This is what programs can import from `lazypull`. [library.md](library.md) has an introduction. What is not on this page may change in any version.',
      ...parts.map(({ name }, i) => `## ${name}\n\n\`\`\`ts\n${codes[i]!.trim()}\n\`\`\``),
    ].join('\n\n') + '\n'
  );
}

/** Stands between two declarations while all of them are formatted at once. */
const separator = '\n// next\n';

interface Declaration {
  readonly name: string;
  readonly text: string;
}

function byName(a: Declaration, b: Declaration): number {
  return a.name.localeCompare(b.name, 'en');
}

/** The names that a module passes on, each with the path of the module that declares it. */
function exportsOf(text: string): { name: string; module: string }[] {
  return [...text.matchAll(/^export (?:type )?\{([^}]+)\} from '\.\/(.+)\.js';$/gm)].flatMap(([, names = '', module]) =>
    names.split(',').map((name) => ({ name: name.replace('type ', '').trim(), module: `${module}.d.ts` })),
  );
}

/** A declaration with its comment. It ends where its last block does, or at its first line. */
function declarationOf(text: string, name: string): Declaration {
  const lines = text.split('\n');
  const isStart = new RegExp(`^export (?:declare )?(?:function|class|interface|type|const) ${name}\\b`);
  const start = lines.findIndex((line) => isStart.test(line));
  if (start < 0) throw new Error(`The declarations do not have "${name}", which src/index.ts exports`);
  let end = start;
  if (lines[start]!.endsWith('{')) while (!/^\}.*[^{]$|^\}$/.test(lines[end]!)) end++;
  let first = start;
  if (lines[start - 1]?.endsWith('*/'))
    do first--;
    while (!lines[first]!.startsWith('/**'));
  return {
    name,
    text: lines
      .slice(first, end + 1)
      .join('\n')
      .replaceAll('    ', '  '),
  };
}
