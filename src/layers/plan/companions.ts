import type { ByteString } from '../../formats/layer-index.ts';
import type { TreeNode } from '../../formats/tree-node.ts';

/** A kind of program, and what it reads soon after it has started whatever it is asked to do. In paths a `*` stands for any name. */
interface Habit {
  /** Where it is installed. */
  readonly programs: readonly string[];
  /** Given what the last `*` of its path stands for. A path with `|` in it is the first of these that is there. */
  readonly reads: (name: string) => readonly string[];
}

const inUsr = (path: string): string[] => [`usr/${path}`, `usr/local/${path}`];
const inGcc = (...names: string[]): string[] =>
  names.flatMap((name) => [...inUsr(`lib/gcc/*/*/${name}`), ...inUsr(`libexec/gcc/*/*/${name}`)]);
const inMultiarch = (...names: string[]): string[] => names.flatMap((name) => [`usr/lib/${name}`, `usr/lib/*/${name}`]);

/** What CPython imports before it looks at its arguments (Lib/site.py); from 3.11 on most of it is in the program. */
const pythonModules = ['encodings/__init__', 'encodings/aliases', 'encodings/utf_8', '/sitecustomize'];
const olderPythonModules = [
  '/codecs',
  '/io',
  '/abc',
  '/site',
  '/os',
  '/stat',
  '/posixpath',
  '/genericpath',
  '/_collections_abc',
  '/_sitebuiltins',
  '/_bootlocale',
  'encodings/latin_1',
];

/**
 * Interpreters and the stages of compilers: what an ELF file does not tell. (CPython, Lib/site.py; GCC internals, "Collect2", and `gcc -v`; `go build -x`;
 * JDK, src/java.base/share/native/libjli.)
 */
const habits: readonly Habit[] = [
  {
    programs: inUsr('bin/python3.*'),
    reads: (minor) => {
      const modules = Number(minor) >= 11 ? pythonModules : [...pythonModules, ...olderPythonModules];
      return inUsr(`lib/python3.${minor}`).flatMap((root) =>
        modules.map((module) => {
          const [directory, name] = module.split('/') as [string, string];
          const path = directory === '' ? root : `${root}/${directory}`;
          return `${path}/__pycache__/${name}.cpython-3${minor}.pyc|${path}/${name}.py`;
        }),
      );
    },
  },
  { programs: [...inUsr('bin/g++'), ...inUsr('bin/c++')], reads: () => inGcc('cc1plus') },
  { programs: [...inUsr('bin/gcc'), ...inUsr('bin/cc')], reads: () => inGcc('cc1') },
  { programs: inGcc('cc1', 'cc1plus'), reads: () => inUsr('bin/as') },
  {
    programs: inUsr('bin/as'),
    reads: () => [
      ...inUsr('bin/ld'),
      ...inGcc('collect2', 'lto-wrapper', 'liblto_plugin.so', 'crtbegin.o', 'crtbeginS.o', 'crtend.o', 'crtendS.o'),
      ...inGcc('libgcc.a', 'libgcc_s.so'),
      ...inMultiarch('crt1.o', 'Scrt1.o', 'crti.o', 'crtn.o', 'libc.so', 'libm.so', 'libc_nonshared.a'),
    ],
  },
  {
    programs: ['usr/local/go/bin/go', 'usr/lib/go-*/bin/go'],
    reads: () =>
      ['compile', 'asm', 'link'].flatMap((tool) => [
        `usr/local/go/pkg/tool/*/${tool}`,
        `usr/lib/go-*/pkg/tool/*/${tool}`,
      ]),
  },
  {
    programs: ['usr/lib/jvm/*/bin/java', 'opt/java/*/bin/java'],
    reads: () =>
      ['server/libjvm.so', 'libjli.so', 'libjava.so', 'libjimage.so', 'jvm.cfg'].flatMap((file) => [
        `usr/lib/jvm/*/lib/${file}`,
        `opt/java/*/lib/${file}`,
      ]),
  },
];

/** Of the programs of a tree and of what each reads no more than these are found: a real tree has a dozen. */
const maxFound = 64;

/** What programs read next that are in a tree. */
export interface Companions {
  readonly program: TreeNode;
  readonly files: readonly TreeNode[];
}

/**
 * Finds the programs of a layer of which it is known what they read next.
 *
 * @param resolve what a path leads to inside the layer, links followed
 */
export function companionsOf(root: TreeNode, resolve: (path: string) => TreeNode | undefined): Companions[] {
  const found: Companions[] = [];
  for (const { programs, reads } of habits) {
    for (const { path, name } of programs.flatMap((pattern) => matching(root, pattern))) {
      const program = resolve(path);
      if (program === undefined || found.length === maxFound) continue;
      const files = reads(name).flatMap((choice) => firstOf(root, choice, resolve));
      if (files.length > 0) found.push({ program, files: files.slice(0, maxFound) });
    }
  }
  return found;
}

function firstOf(root: TreeNode, choice: string, resolve: (path: string) => TreeNode | undefined): TreeNode[] {
  for (const pattern of choice.split('|')) {
    const nodes = matching(root, pattern).flatMap(({ path }) => resolve(path) ?? []);
    if (nodes.length > 0) return nodes;
  }
  return [];
}

/** The paths in a tree that a pattern stands for, and what its last `*` does. Links are not followed on the way. */
function matching(root: TreeNode, pattern: string): { path: ByteString; name: string }[] {
  let found = [{ node: root, path: '', name: '' }];
  for (const part of pattern.split('/')) {
    found = found.flatMap(({ node, path, name }) => {
      const children = node.children;
      if (children === undefined) return [];
      const below = (child: string) => (path === '' ? child : `${path}/${child}`);
      if (!part.includes('*')) {
        const child = children.get(part);
        return child === undefined ? [] : [{ node: child, path: below(part), name }];
      }
      const [before, after] = part.split('*') as [string, string];
      const isMatch = (child: string) =>
        child.length > before.length + after.length && child.startsWith(before) && child.endsWith(after);
      return [...children]
        .filter(([child]) => isMatch(child))
        .slice(0, maxFound)
        .map(([child, node]) => {
          return { node, path: below(child), name: child.slice(before.length, child.length - after.length) };
        });
    });
  }
  return found.map(({ path, name }) => ({ path, name }));
}
