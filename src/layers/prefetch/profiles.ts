import type { ByteString } from '../../formats/layer-index.ts';
import type { TreeNode } from '../../formats/tree-node.ts';

/**
 * A kind of program, and what it reads soon after its start, whatever its arguments are. In paths a `*` stands for any
 * name.
 */
interface Habit {
  /** The paths where it is installed. */
  readonly programs: readonly string[];
  /**
   * It gets the text that the last `*` of its path stands for. In a path with `|`, the first one that exists counts.
   */
  readonly reads: (name: string) => readonly string[];
  /** Small files of which it reads many. */
  readonly texts?: readonly string[];
}

const inUsr = (path: string): string[] => [`usr/${path}`, `usr/local/${path}`];
const inGcc = (...names: string[]): string[] =>
  names.flatMap((name) => [...inUsr(`lib/gcc/*/*/${name}`), ...inUsr(`libexec/gcc/*/*/${name}`)]);
const inMultiarch = (...names: string[]): string[] => names.flatMap((name) => [`usr/lib/${name}`, `usr/lib/*/${name}`]);

/** What CPython imports before it looks at its arguments (Lib/site.py); since 3.11 most of it is in the program. */
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

/** The headers of which any program in C includes some, and those of C++. */
const cHeaders = [
  ...inUsr('include/*.h'),
  ...['bits/*', 'bits/types/*', 'sys/*', 'gnu/*', 'asm/*'].flatMap((name) => [
    `usr/include/${name}`,
    `usr/include/*/${name}`,
  ]),
  ...['linux/errno.h', 'linux/limits.h', 'asm-generic/*'].map((name) => `usr/include/${name}`),
  ...inGcc('include/std*.h'),
];
const cxxHeaders = [
  ...['*', 'backward/*', 'bits/*', 'debug/*', 'ext/*', 'pstl/*'].flatMap((name) => inUsr(`include/c++/*/${name}`)),
  'usr/include/*/c++/*/bits/*',
  'usr/local/include/c++/*/*/bits/*',
];

/** The libraries of GCC's compilers. */
const gccLibraries = inMultiarch(
  'libisl.so.*',
  'libmpc.so.*',
  'libmpfr.so.*',
  'libgmp.so.*',
  'libz.so.1',
  'libzstd.so.1',
);
const binutilsLibraries = inMultiarch('libbfd-*.so', 'libctf.so.*', 'libsframe.so.*', 'libjansson.so.*', 'libz.so.1');

/**
 * Interpreters and the stages of compilers: reads that an ELF file does not show. For the most common ones it also has
 * what the ELF file shows, so that nothing has to wait for it. (CPython, Lib/site.py; GCC internals, "Collect2", and
 * `gcc -v`; `go build -x`; JDK, src/java.base/share/native/libjli; dpkg(1), "FILES"; apt.conf(5).)
 */
const habits: readonly Habit[] = [
  {
    programs: inUsr('bin/python3.*'),
    reads: (minor) => {
      const modules = Number(minor) >= 11 ? pythonModules : [...pythonModules, ...olderPythonModules];
      const libraries = inMultiarch('libm.so.6', 'libz.so.1', 'libexpat.so.1', `libpython3.${minor}.so.1.0`);
      const imported = inUsr(`lib/python3.${minor}`).flatMap((root) =>
        modules.map((module) => {
          const [directory, name] = module.split('/') as [string, string];
          const path = directory === '' ? root : `${root}/${directory}`;
          return `${path}/__pycache__/${name}.cpython-3${minor}.pyc|${path}/${name}.py`;
        }),
      );
      return [...imported, ...libraries, `usr/local/lib/libpython3.${minor}.so.1.0`];
    },
  },
  {
    programs: [...inUsr('bin/g++'), ...inUsr('bin/c++')],
    reads: () => inGcc('cc1plus', 'libstdc++.so'),
  },
  { programs: [...inUsr('bin/gcc'), ...inUsr('bin/cc')], reads: () => inGcc('cc1') },
  { programs: inGcc('cc1'), reads: () => [...inUsr('bin/as'), ...gccLibraries], texts: cHeaders },
  {
    programs: inGcc('cc1plus'),
    reads: () => [...inUsr('bin/as'), ...gccLibraries],
    texts: [...cxxHeaders, ...cHeaders],
  },
  {
    programs: inUsr('bin/as'),
    reads: () => [
      ...inUsr('bin/ld'),
      ...inGcc('collect2', 'lto-wrapper', 'liblto_plugin.so', 'crtbegin.o', 'crtbeginS.o', 'crtend.o', 'crtendS.o'),
      ...inGcc('libgcc.a', 'libgcc_s.so'),
      ...inMultiarch('crt1.o', 'Scrt1.o', 'crti.o', 'crtn.o', 'libc.so', 'libm.so', 'libc_nonshared.a'),
      ...inMultiarch('libm.so.6', 'libmvec.so.1', 'libgcc_s.so.1', 'libopcodes-*.so'),
      ...binutilsLibraries,
    ],
  },
  {
    programs: ['usr/bin/apt-get', 'usr/bin/apt'],
    reads: () => [
      ...inMultiarch('libapt-pkg.so.*', 'libapt-private.so.*', 'libstdc++.so.6', 'libgcc_s.so.1', 'libm.so.6'),
      ...inMultiarch('libz.so.1', 'libbz2.so.*', 'liblzma.so.*', 'liblz4.so.*', 'libzstd.so.*', 'libxxhash.so.*'),
      ...inMultiarch('libudev.so.*', 'libsystemd.so.*', 'libcap.so.*', 'libgcrypt.so.*', 'libgpg-error.so.*'),
      ...['http', 'store', 'gpgv'].map((method) => `usr/lib/apt/methods/${method}`),
      'usr/bin/dpkg',
      'var/lib/dpkg/status',
      'var/lib/apt/extended_states',
    ],
    texts: ['etc/apt/*', 'etc/apt/*/*', 'usr/share/dpkg/*table'],
  },
  {
    programs: ['usr/bin/dpkg'],
    reads: () => [
      ...inMultiarch('libmd.so.*', 'libselinux.so.*', 'libpcre2-8.so.*'),
      'usr/bin/dpkg-deb',
      'usr/bin/dpkg-split',
      'usr/bin/tar',
      'usr/bin/rm',
      'var/lib/dpkg/status',
    ],
    texts: [
      'etc/dpkg/*',
      'etc/dpkg/dpkg.cfg.d/*',
      ...['*', 'info/*.list', 'triggers/*', 'updates/*'].map((name) => `var/lib/dpkg/${name}`),
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

/**
 * Maximum number of programs in a tree, and of files that each reads: a real tree has a dozen. There are hundreds of
 * texts.
 */
const maxFound = 64;
const maxTexts = 1024;

/** What programs in a tree read next. */
export interface Companions {
  readonly program: TreeNode;
  /** Programs and libraries. */
  readonly files: readonly TreeNode[];
  /** Small files of which it reads some, often many. */
  readonly texts: readonly TreeNode[];
}

/**
 * Finds the programs of a layer whose next reads are known.
 *
 * @param resolve the target of a path inside the layer, after following links
 */
export function companionsOf(root: TreeNode, resolve: (path: string) => TreeNode | undefined): Companions[] {
  const paths = new Paths(root);
  const found: Companions[] = [];
  for (const { programs, reads, texts = [] } of habits) {
    let small: readonly TreeNode[] | undefined; // all of its programs share it, so it is found once
    for (const { path, name } of programs.flatMap((pattern) => paths.matching(pattern, maxFound))) {
      const program = resolve(path);
      if (program === undefined || found.length === maxFound) continue;
      const files = new Set(reads(name).flatMap((choice) => firstOf(paths, choice, resolve)));
      small ??= textsOf(paths, texts);
      if (files.size + small.length === 0) continue;
      found.push({ program, files: [...files].slice(0, maxFound), texts: small });
    }
  }
  return found;
}

function textsOf(paths: Paths, patterns: readonly string[]): TreeNode[] {
  const nodes = patterns.flatMap((pattern) => paths.matching(pattern, maxTexts).map(({ node }) => node));
  return [...new Set(nodes)].slice(0, maxTexts);
}

function firstOf(paths: Paths, choice: string, resolve: (path: string) => TreeNode | undefined): TreeNode[] {
  for (const pattern of choice.split('|')) {
    const nodes = paths.matching(pattern, maxFound).flatMap(({ path }) => resolve(path) ?? []);
    if (nodes.length > 0) return nodes;
  }
  return [];
}

interface Match {
  readonly node: TreeNode;
  readonly path: ByteString;
  readonly name: string;
}

/** Finds paths of a tree by patterns. Many patterns begin alike: their common beginnings are resolved once. */
class Paths {
  readonly #root: Match;
  readonly #found = new Map<string, readonly Match[]>();

  constructor(root: TreeNode) {
    this.#root = { node: root, path: '', name: '' };
  }

  /** The first `max` paths that match a pattern, with the text of its last `*`. Links are not followed on the way. */
  matching(pattern: string, max: number): readonly Match[] {
    const key = `${max} ${pattern}`;
    let found = this.#found.get(key);
    if (found === undefined) {
      const slash = pattern.lastIndexOf('/');
      const above = slash < 0 ? [this.#root] : this.matching(pattern.slice(0, slash), max);
      const part = pattern.slice(slash + 1);
      found = above.flatMap((directory) => matchesIn(directory, part, max)).slice(0, max);
      this.#found.set(key, found);
    }
    return found;
  }
}

function matchesIn({ node, path, name }: Match, part: string, max: number): Match[] {
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
    .slice(0, max)
    .map(([child, node]) => {
      return { node, path: below(child), name: child.slice(before.length, child.length - after.length) };
    });
}
