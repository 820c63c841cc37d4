/** The page of what the library exports, in Markdown: each declaration as programs see it. */
export function apiPage(declarations: ReadonlyMap<string, string>): string {
  const parts = exportsOf(declarations.get('index.d.ts') ?? '').map(({ name, module }) =>
    declarationOf(declarations.get(module) ?? '', name),
  );
  return (
    [
      '<!-- Made by "npm run gen:docs" from the declarations of src/index.ts; do not edit. -->',
      '# The library',
      "What `import … from 'lazypull'` gives. [library.md](library.md) has an introduction. What is not on this page may change in any version.",
      ...parts.toSorted(byName).map(({ name, text }) => `## ${name}\n\n\`\`\`ts\n${text}\n\`\`\``),
    ].join('\n\n') + '\n'
  );
}

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

/** A declaration with its comment. It ends at the first line that closes a block, or at a line that opens none. */
function declarationOf(text: string, name: string): Declaration {
  const lines = text.split('\n');
  const isStart = new RegExp(`^export (?:declare )?(?:function|class|interface|type|const) ${name}\\b`);
  const start = lines.findIndex((line) => isStart.test(line));
  if (start < 0) throw new Error(`The declarations do not have "${name}", which src/index.ts exports`);
  let end = start;
  if (lines[start]!.endsWith('{')) while (!lines[end]!.startsWith('}')) end++;
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
