import { basename } from 'node:path';
import type { ChunkTable } from '../../chunks/chunk-table.ts';
import type { Landmark, LayerTree } from '../../formats/tree.ts';
import type { TreeNode } from '../../formats/tree-node.ts';
import { companionsOf } from './profiles.ts';
import type { ChunkRange } from '../../chunks/chunk-range.ts';

/** The chunks of the files that are likely to be read next. */
export interface Hints {
  /** The publisher's hint for prefetching. */
  readonly landmark: Landmark;
  /** What nearly every program of a Linux distribution opens when it starts. */
  readonly start: readonly ChunkRange[];
  /** Shared libraries by the names that programs ask for. */
  readonly libraries: Readonly<Record<string, ChunkRange>>;
  /** By a program's first chunk, what it reads next according to `companionsOf`. */
  readonly companions: Readonly<Record<number, CompanionChunks>>;
}

/** Programs and libraries, and the chunks of small files of which many are read. */
export interface CompanionChunks {
  readonly files: readonly ChunkRange[];
  readonly texts: readonly ChunkRange[];
}

/** The chunks of the shared libraries with these names or paths, as far as the layer has them. */
export function chunksOfLibraries({ libraries }: Hints, names: readonly string[]): ChunkRange[] {
  return names
    .map((name) => basename(name))
    .flatMap((name) => (Object.hasOwn(libraries, name) ? libraries[name]! : []));
}

/** Files and directories that a shell, the C library's start-up and a container runtime read in any distribution. */
const startPaths = [
  'bin/sh',
  'etc/group',
  'etc/ld.so.cache',
  'etc/localtime',
  'etc/nsswitch.conf',
  'etc/passwd',
  'usr/lib/locale/C.utf8',
  'usr/lib/locale/C.UTF-8',
];
const startLibraries = /^(ld-linux.*|ld-musl.*|ld64\..*|libc\.so\.6|libc\.musl-.*)$/;
const gconvCache = 'gconv/gconv-modules.cache';

const libraryDirectories = ['lib', 'lib64', 'usr/lib', 'usr/lib64', 'usr/local/lib'];
const libraryName = /\.so(\.[0-9.]+)?$/;
const multiarchDirectory = /^[a-z0-9_]+-linux-[a-z0-9]+$/;

const maxLinks = 16;
/** A longer start file, or one with so many neighbours, is not what it seems. */
const maxStartChunks = 4;
const maxStartFiles = 256;

/** Maximum runs of texts for a program, the longest ones: as many as one request asks for. */
const maxTextRuns = 32;

/** A layer's plan, as far as the files' chunks matter. */
export interface PlannedChunks {
  readonly chunks: ChunkTable;
  /** The first chunk of each file that has data, ascending. */
  readonly firstChunks: Uint32Array;
}

/** Finds the hints of a layer. The plan must be that of the tree. */
export function hintsOf(tree: LayerTree, plan: PlannedChunks): Hints {
  const libraries = new Map<string, ChunkRange>();
  const start: ChunkRange[] = [];
  const want = (node: TreeNode | undefined): void => {
    const range = node === undefined || start.length === maxStartFiles ? undefined : chunksOf(node, tree, plan);
    if (range !== undefined && range.last - range.first <= maxStartChunks) start.push(range);
  };
  for (const path of startPaths) {
    const node = resolve(tree, path);
    want(node);
    for (const child of node?.children?.values() ?? []) want(child);
  }
  for (const directory of librariesOf(tree)) {
    want(resolve(tree, `${directory}/${gconvCache}`));
    for (const name of resolve(tree, directory)?.children?.keys() ?? []) {
      if (!libraryName.test(name) || libraries.has(name)) continue;
      const node = resolve(tree, `${directory}/${name}`);
      const range = node === undefined ? undefined : chunksOf(node, tree, plan);
      if (range === undefined) continue;
      libraries.set(name, range);
      if (startLibraries.test(name)) want(node);
    }
  }
  const companions: Record<number, CompanionChunks> = {};
  for (const { program, files, texts } of companionsOf(tree.root, (path) => resolve(tree, path))) {
    const first = chunksOf(program, tree, plan)?.first;
    if (first === undefined) continue;
    const chunksOfAll = (nodes: readonly TreeNode[]): ChunkRange[] =>
      nodes.flatMap((node) => chunksOf(node, tree, plan) ?? []);
    companions[first] = { files: chunksOfAll(files), texts: runsOf(chunksOfAll(texts)) };
  }
  return { landmark: tree.landmark, start, libraries: Object.fromEntries(libraries), companions };
}

function librariesOf(tree: LayerTree): string[] {
  return libraryDirectories.flatMap((directory) => {
    const names = [...(resolve(tree, directory)?.children?.keys() ?? [])];
    return [directory, ...names.filter((name) => multiarchDirectory.test(name)).map((name) => `${directory}/${name}`)];
  });
}

/** Adjacent chunks joined to ranges, ascending: the longest such ranges. */
function runsOf(ranges: readonly ChunkRange[]): ChunkRange[] {
  const runs: ChunkRange[] = [];
  for (const { first, last } of ranges.toSorted((a, b) => a.first - b.first)) {
    const run = runs.at(-1);
    if (run !== undefined && first <= run.last) run.last = Math.max(run.last, last);
    else runs.push({ first, last });
  }
  const longest = runs.toSorted((a, b) => b.last - b.first - (a.last - a.first)).slice(0, maxTextRuns);
  return longest.sort((a, b) => a.first - b.first);
}

/**
 * The chunks of a regular file's data; undefined for anything else. Files are in the order of their first chunks in the
 * blob.
 */
function chunksOf(
  { entry }: TreeNode,
  tree: LayerTree,
  { chunks, firstChunks }: PlannedChunks,
): ChunkRange | undefined {
  if (entry.type !== 'reg' || entry.chunkCount === 0) return undefined;
  const stream = tree.chunks.streamOffset[entry.firstChunk]!;
  const inner = tree.chunks.innerOffset[entry.firstChunk]!;
  const order = (chunk: number) => chunks.streamOffset[chunk]! - stream || chunks.innerOffset[chunk]! - inner;
  let low = 0;
  let high = firstChunks.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (order(firstChunks[middle]!) < 0) low = middle + 1;
    else high = middle;
  }
  const first = firstChunks[low];
  return first === undefined || order(first) !== 0 ? undefined : { first, last: first + entry.chunkCount };
}

/** The target of a path inside the layer, after following links. */
function resolve(tree: LayerTree, path: string): TreeNode | undefined {
  let links = 0;
  const trail: TreeNode[] = [tree.root];
  const parts = path.split('/').reverse();
  for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
    if (part === '' || part === '.') continue;
    if (part === '..') {
      if (trail.length > 1) trail.pop();
      continue;
    }
    const node = trail.at(-1)!.children?.get(part);
    if (node === undefined) return undefined;
    if (node.entry.type !== 'symlink') {
      trail.push(node);
      continue;
    }
    if (++links > maxLinks) return undefined;
    if (node.entry.linkTarget.startsWith('/')) trail.length = 1;
    parts.push(...node.entry.linkTarget.split('/').reverse());
  }
  return trail.at(-1);
}
