import { LazypullError } from '../errors.ts';
import type { ChunkColumns } from './chunk-columns.ts';
import { type ByteString, type IndexEntry, type LayerIndex, plainEntry } from './layer-index.ts';
import { maxImpliedDirectories, maxNodes, maxSymlinkBytes } from './limits.ts';
import { tocName } from './estargz/toc-tar.ts';
import { cleanPath, shownPath } from './paths.ts';
import type { TreeNode } from './tree-node.ts';
import { applyWhiteouts, isWhiteoutName } from './tar/whiteouts.ts';
import { unpackedXattrs } from './xattrs.ts';

/**
 * The publisher's hint for prefetching: everything before byte `offset` of the blob, nothing, or no hint.
 * (containerd/stargz-snapshotter, docs/estargz.md, "Prioritized Files and Landmark Files".)
 */
export type Landmark = { kind: 'prefetch'; offset: number } | { kind: 'noprefetch' } | { kind: 'none' };

/**
 * A layer as overlayfs needs it: each path once, links resolved, whiteouts translated, the format's own files left out.
 */
export interface LayerTree {
  root: TreeNode;
  chunks: ChunkColumns;
  landmark: Landmark;
}

/**
 * Builds a tree from the entries of a layer, in the state after unpacking the tar in order: the last entry of a name
 * wins, a repeated directory keeps its content, and directories without an entry exist with mode 0755. A hard link
 * refers to the file that its target's name means at that point, or else at the end.
 *
 * @throws Unimplemented if only unpacking over the parent layers can decide: an entry below something that is not a
 * directory, a link whose target is not in the layer; DataLoss for a link to itself; ResourceExhausted above the bounds
 * of `limits.ts`; InvalidArgument for names with NUL
 */
export function buildTree(index: LayerIndex): LayerTree {
  const builder = new TreeBuilder();
  for (const entry of index.entries) builder.add(entry);
  const root = builder.finish();
  const landmark = takeLandmark(root, index.chunks);
  countLinks(root);
  return { root, chunks: index.chunks, landmark };
}

/** As `buildTree`, for a plain tar layer: no file in it is the format's own. */
export function buildPlainTree(index: LayerIndex): LayerTree {
  const builder = new TreeBuilder();
  for (const entry of index.entries) builder.add(entry);
  const root = builder.finish();
  countLinks(root);
  return { root, chunks: index.chunks, landmark: { kind: 'none' } };
}

/** The root of an empty layer. */
export function emptyDirectory(): TreeNode {
  return { ...directoryNode(impliedDirectory), links: 2 };
}

class TreeBuilder {
  readonly #root = directoryNode(impliedDirectory);
  /** Directories that contain whiteout names. */
  readonly #marked = new Set<TreeNode>();
  #hasPendingLinks = false;
  #nodes = 1;
  #implied = 0;
  /** The directory of the previous entry: usually the next one is in it too. */
  #lastPath: ByteString = '';
  #lastDirectory = this.#root;

  add(source: IndexEntry): void {
    const path = cleanPath(source.path);
    const entry = withUnpackedTime(unpackedXattrs(source));
    if (path === '') {
      if (entry.type !== 'dir') throw invalid(source, 'the root of a layer must be a directory');
      this.#root.entry = entry;
      return;
    }
    const slash = path.lastIndexOf('/');
    const name = path.slice(slash + 1);
    const parent = this.#directory(slash < 0 ? '' : path.slice(0, slash), source);
    if (isWhiteoutName(name)) {
      this.#marked.add(parent);
      this.#set(parent, name, { entry: { ...entry, type: 'reg' }, links: 0, children: undefined });
    } else if (entry.type === 'dir') {
      const there = parent.children!.get(name);
      if (there?.children === undefined) this.#set(parent, name, directoryNode(entry));
      else there.entry = entry;
    } else if (entry.type === 'hardlink') {
      this.#set(parent, name, this.#linkTarget(source));
    } else {
      const file = entry.type === 'symlink' ? asSymlink(entry) : entry;
      this.#set(parent, name, { entry: file, links: 0, children: undefined });
    }
  }

  finish(): TreeNode {
    if (this.#hasPendingLinks) resolveLinks(this.#root);
    for (const directory of this.#marked) applyWhiteouts(directory);
    return this.#root;
  }

  #set(parent: TreeNode, name: ByteString, node: TreeNode): void {
    if (parent.children === noChildren) parent.children = new Map();
    const children = parent.children!;
    if (children.get(name)?.children !== undefined) this.#forgetDirectory();
    children.set(name, node);
    if (++this.#nodes > maxNodes) {
      throw new LazypullError('ResourceExhausted', `The layer has more than ${maxNodes} files and directories`);
    }
  }

  /** The directory at a clean path; missing directories are made. */
  #directory(path: ByteString, entry: IndexEntry): TreeNode {
    if (path === this.#lastPath) return this.#lastDirectory;
    let node = this.#root;
    for (let start = 0; start < path.length; ) {
      const slash = path.indexOf('/', start);
      const end = slash < 0 ? path.length : slash;
      const name = path.slice(start, end);
      let child = node.children!.get(name);
      if (child?.children === undefined) {
        const isWhiteout = isWhiteoutName(name);
        if (isWhiteout) this.#marked.add(node);
        else if (child !== undefined)
          throw invalid(entry, `"${shownPath(path.slice(0, end))}" is not a directory in this layer`);
        if (++this.#implied > maxImpliedDirectories) {
          throw new LazypullError(
            'ResourceExhausted',
            `The layer has more than ${maxImpliedDirectories} directories without an entry`,
          );
        }
        child = directoryNode(impliedDirectory);
        this.#set(node, name, child);
      }
      node = child;
      start = end + 1;
    }
    this.#lastPath = path;
    this.#lastDirectory = node;
    return node;
  }

  #forgetDirectory(): void {
    this.#lastPath = '';
    this.#lastDirectory = this.#root;
  }

  /**
   * The node that a hard link is another name of. While its target does not exist, that is a node of type 'hardlink'.
   */
  #linkTarget(link: IndexEntry): TreeNode {
    const target = lookUp(this.#root, cleanPath(link.linkTarget));
    if (target?.children !== undefined)
      throw invalid(link, `its target "${shownPath(link.linkTarget)}" is a directory`);
    if (target !== undefined) return withAttributesOf(withUnpackedTime(link), target);
    this.#hasPendingLinks = true;
    return { entry: link, links: 0, children: undefined };
  }
}

/**
 * Unpacking also sets owner, mode, time and extended attributes of a link, on the file that it is a name of: chown(2)
 * removes the file's capability, and a symlink keeps its mode. A link without a mode has only extended attributes.
 */
function withAttributesOf(link: IndexEntry, target: TreeNode): TreeNode {
  const { entry } = target;
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds } = link.mode === 0 ? entry : link;
  const isSymlink = entry.type === 'symlink';
  const xattrs = new Map(entry.xattrs);
  if (link.mode !== 0) xattrs.delete('security.capability');
  for (const [name, value] of link.xattrs ?? []) xattrs.set(name, value);
  const owned = { uid, gid, mtimeSeconds, mtimeNanoseconds, mode: isSymlink ? entry.mode : mode };
  target.entry = unpackedXattrs({ ...entry, ...owned, xattrs: xattrs.size === 0 ? undefined : xattrs });
  return target;
}

/** The last second that fits into 63 bits as nanoseconds. */
const lastSecond = 9_223_372_036;
const lastNanosecond = 854_775_807;

/**
 * Unpacking sets no time before 1970, and none whose nanoseconds do not fit into 63 bits: then it sets the start of
 * 1970.
 */
function withUnpackedTime(entry: IndexEntry): IndexEntry {
  const { mtimeSeconds: seconds, mtimeNanoseconds: nanoseconds } = entry;
  const isSet = seconds >= 0 && (seconds < lastSecond || (seconds === lastSecond && nanoseconds <= lastNanosecond));
  return isSet ? entry : { ...entry, mtimeSeconds: 0, mtimeNanoseconds: 0 };
}

const impliedDirectory: IndexEntry = { ...plainEntry, type: 'dir', mode: 0o755 };

/** All empty directories share this: maps are large. */
const noChildren: Map<ByteString, TreeNode> = new Map();

function directoryNode(entry: IndexEntry): TreeNode {
  return { entry, links: 0, children: noChildren };
}

function lookUp(root: TreeNode, path: ByteString): TreeNode | undefined {
  let node: TreeNode | undefined = root;
  if (path !== '') for (const name of path.split('/')) node = node?.children?.get(name);
  return node;
}

/** Linux gives every symlink the same mode, whatever the entry has. */
const symlinkMode = 0o777;

function asSymlink(entry: IndexEntry): IndexEntry {
  const { path, linkTarget } = entry;
  if (linkTarget.length === 0 || linkTarget.includes('\0')) {
    throw new LazypullError('InvalidArgument', `Cannot link "${shownPath(path)}" to "${shownPath(linkTarget)}"`);
  }
  if (linkTarget.length > maxSymlinkBytes) {
    throw new LazypullError(
      'ResourceExhausted',
      `The target of the symlink "${shownPath(path)}" has ${linkTarget.length} bytes: more than ${maxSymlinkBytes}`,
    );
  }
  return entry.mode === symlinkMode ? entry : { ...entry, mode: symlinkMode };
}

/** Calls `visit` for each directory of a tree, parents first. */
function forEachDirectory(root: TreeNode, visit: (children: Map<ByteString, TreeNode>, directory: TreeNode) => void) {
  const queue = [root];
  for (let directory = queue.pop(); directory !== undefined; directory = queue.pop()) {
    const { children } = directory;
    if (children === undefined) continue;
    visit(children, directory);
    for (const child of children.values()) if (child.children !== undefined) queue.push(child);
  }
}

/** Replaces the nodes of type 'hardlink' by what their targets' names mean at the end. */
function resolveLinks(root: TreeNode): void {
  const resolved = new Map<TreeNode, TreeNode>();
  forEachDirectory(root, (children) => {
    for (const [name, node] of children) {
      if (node.entry.type === 'hardlink') children.set(name, resolveLink(root, node, resolved));
    }
  });
}

function resolveLink(root: TreeNode, link: TreeNode, resolved: Map<TreeNode, TreeNode>): TreeNode {
  const chain = new Set<TreeNode>();
  let node = link;
  while (node.entry.type === 'hardlink') {
    const known = resolved.get(node);
    if (known !== undefined) {
      node = known;
      break;
    }
    if (chain.has(node)) {
      throw new LazypullError('DataLoss', `The hard link "${shownPath(link.entry.path)}" leads to itself`);
    }
    chain.add(node);
    const next = lookUp(root, cleanPath(node.entry.linkTarget));
    if (next === undefined) {
      throw invalid(
        link.entry,
        `there is no "${shownPath(node.entry.linkTarget)}" in this layer that it could be a hard link to`,
      );
    }
    if (next.children !== undefined)
      throw invalid(link.entry, `its target "${shownPath(node.entry.linkTarget)}" is a directory`);
    node = next;
  }
  for (const each of chain) resolved.set(each, node);
  return node;
}

const prefetchLandmark = '.prefetch.landmark';
const noPrefetchLandmark = '.no.prefetch.landmark';

/** Reads the landmark and removes the format's own files from the root. */
function takeLandmark({ children }: TreeNode, chunks: ChunkColumns): Landmark {
  const prefetch = children?.get(prefetchLandmark)?.entry;
  const hasNoPrefetch = children?.has(noPrefetchLandmark) ?? false;
  for (const name of [prefetchLandmark, noPrefetchLandmark, tocName]) children?.delete(name);
  if (hasNoPrefetch) return { kind: 'noprefetch' };
  if (prefetch === undefined || prefetch.chunkCount === 0) return { kind: 'none' };
  return { kind: 'prefetch', offset: chunks.streamOffset[prefetch.firstChunk]! };
}

function countLinks(root: TreeNode): void {
  forEachDirectory(root, (children, directory) => {
    directory.links += 2;
    for (const child of children.values()) {
      if (child.children === undefined) child.links++;
      else directory.links++;
    }
  });
}

function invalid(entry: IndexEntry, why: string): LazypullError {
  return new LazypullError('Unimplemented', `Cannot place "${shownPath(entry.path)}": ${why}`);
}
