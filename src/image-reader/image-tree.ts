import { LazypullError } from '../errors.ts';
import type { ByteString, IndexEntry } from '../formats/layer-index.ts';
import { maxPathBytes } from '../formats/limits.ts';
import { shownPath } from '../formats/paths.ts';
import { emptyDirectory } from '../formats/tree.ts';
import type { TreeNode } from '../formats/tree-node.ts';

/** How many symlinks Linux follows in one path before it gives up. */
const maxSymlinks = 40;

const opaqueXattr = 'trusted.overlay.opaque';

/** A file of an image. */
export interface ImageFile {
  /** Without a leading slash; the root is ''. No part of it is a symlink. */
  readonly path: ByteString;
  readonly entry: IndexEntry;
  /** Number of names of a file in its layer; of a directory, 2 and one for each directory in it. */
  readonly links: number;
  /** The layer that it comes from, 0 is the lowest; -1 for the root of an image without layers. */
  readonly layer: number;
  readonly isDirectory: boolean;
}

/** The layers of an image as one tree, as overlayfs shows them. It looks paths up on demand and copies nothing. */
export class ImageTree {
  readonly #root: Found;

  /**
   * @param roots roots of the layers' trees, the lowest first; none for an image without layers, which is an empty
   * directory
   */
  constructor(roots: readonly TreeNode[]) {
    const parts: Part[] = roots.length === 0 ? [{ node: emptyDirectory(), layer: -1 }] : [];
    for (let layer = roots.length - 1; layer >= 0; layer--) {
      const node = roots[layer]!;
      parts.push({ node, layer });
      if (isOpaque(node)) break;
    }
    this.#root = { path: '', parts };
  }

  /**
   * The file at a path, from the root on. Symlinks are followed inside the image, even the last one; `..` of the root
   * is the root.
   *
   * @throws NotFound that names the missing part; FailedPrecondition for too many symlinks, or a part that is not a
   * directory
   */
  find(path: ByteString): ImageFile {
    return fileOf(this.#resolve(path));
  }

  /** The files in a directory from `find` or `list`, by name. */
  list(directory: ImageFile): ImageFile[] {
    return children(this.#resolve(directory.path)).map(fileOf);
  }

  #resolve(path: ByteString): Found {
    checkLength(path, path);
    const todo = partsOf(path).toReversed();
    const above: Found[] = [];
    let at = this.#root;
    for (let links = 0; todo.length > 0; ) {
      const name = todo.pop()!;
      if (name === '..') {
        at = above.pop() ?? this.#root;
        continue;
      }
      if (!isDirectory(at)) throw notDirectory(path, at);
      const next = child(at, name);
      if (next === undefined) throw notFound(path, join(at.path, name));
      const { type, linkTarget } = next.parts[0]!.node.entry;
      if (type !== 'symlink') {
        above.push(at);
        at = next;
        continue;
      }
      if (++links > maxSymlinks) {
        const text = `Cannot follow "${show(path)}": it leads through more than ${maxSymlinks} symlinks`;
        throw new LazypullError('FailedPrecondition', text);
      }
      checkLength(linkTarget, path);
      if (linkTarget.startsWith('/')) {
        above.length = 0;
        at = this.#root;
      }
      todo.push(...partsOf(linkTarget).toReversed());
    }
    return at;
  }
}

/** A node of a layer. */
interface Part {
  readonly node: TreeNode;
  readonly layer: number;
}

/** The files at a path: one file, or the directories of several layers, the uppermost first. */
interface Found {
  readonly path: ByteString;
  readonly parts: readonly Part[];
}

/** What overlayfs shows for a name: whiteouts hide what is below them, directories are merged. */
function child(directory: Found, name: ByteString): Found | undefined {
  const path = join(directory.path, name);
  const parts: Part[] = [];
  for (const { node: above, layer } of directory.parts) {
    const node = above.children?.get(name);
    if (node === undefined) continue;
    if (isWhiteout(node)) break;
    if (node.children === undefined) {
      if (parts.length === 0) return { path, parts: [{ node, layer }] };
      if (node.entry.type === 'symlink' && parts.every(isImplied)) throw ambiguous(path);
      break;
    }
    parts.push({ node, layer });
    if (isOpaque(node)) break;
  }
  return parts.length === 0 ? undefined : { path, parts };
}

function children(directory: Found): Found[] {
  const names = new Set(directory.parts.flatMap(({ node }) => [...(node.children?.keys() ?? [])]));
  return [...names].sort(byBytes).flatMap((name) => child(directory, name) ?? []);
}

/** An implied directory has the attributes of a lower layer, as after unpacking. */
function fileOf(found: Found): ImageFile {
  const { node, layer } = found.parts.find((part) => !isImplied(part)) ?? found.parts[0]!;
  const links = isDirectory(found) ? 2 + children(found).filter(isDirectory).length : node.links;
  return { path: found.path, entry: node.entry, links, layer, isDirectory: isDirectory(found) };
}

function isDirectory({ parts }: Found): boolean {
  return parts[0]!.node.children !== undefined;
}

function isImplied({ node }: Part): boolean {
  return node.children !== undefined && node.entry.path === '';
}

function isWhiteout({ entry }: TreeNode): boolean {
  return entry.type === 'char' && entry.devMajor === 0 && entry.devMinor === 0;
}

function isOpaque({ entry }: TreeNode): boolean {
  return entry.xattrs?.has(opaqueXattr) ?? false;
}

function partsOf(path: ByteString): ByteString[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

function byBytes(a: ByteString, b: ByteString): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function join(directory: ByteString, name: ByteString): ByteString {
  return directory === '' ? name : `${directory}/${name}`;
}

function show(path: ByteString): string {
  return shownPath(path);
}

function checkLength(text: ByteString, path: ByteString): void {
  if (text.length <= maxPathBytes) return;
  throw new LazypullError('InvalidArgument', `Cannot look up "${show(path).slice(0, 80)}…": it is too long`);
}

function notFound(path: ByteString, missing: ByteString): LazypullError {
  return new LazypullError('NotFound', `Cannot find "${show(path)}" in the image: there is no "/${show(missing)}"`);
}

function notDirectory(path: ByteString, at: Found): LazypullError {
  const text = `Cannot find "${show(path)}" in the image: "/${show(at.path)}" is not a directory`;
  return new LazypullError('FailedPrecondition', text);
}

function ambiguous(path: ByteString): LazypullError {
  const text = `Cannot show "/${show(path)}": a layer has files in it but no entry for it, and in a lower layer it is a symlink; only unpacking follows that`;
  return new LazypullError('FailedPrecondition', text);
}
