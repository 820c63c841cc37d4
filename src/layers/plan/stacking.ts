import { lstat } from 'node:fs/promises';
import { errnoOf } from '../../errors.ts';
import type { ByteString } from '../../formats/layer-index.ts';
import type { LayerTree } from '../../formats/tree.ts';
import type { TreeNode } from '../../formats/tree-node.ts';
import { Refusal } from '../resolve/refusal.ts';

/**
 * What matters about a layer to those above and below it. Unpacking writes into existing directories: one that the
 * archive does not name keeps its owner and mode, and a link is followed. overlayfs shows a directory as its uppermost
 * layer has it.
 */
export interface Stacking {
  /** Whether a whiteout in the layer hides a file of a lower one. */
  readonly hasWhiteouts: boolean;
  /** The directories without an entry, parents first. */
  readonly implied: readonly ByteString[];
  /** The directories that differ from an implied one, and the symlinks. */
  readonly special: readonly ByteString[];
}

/** Maximum number of implied directories that are looked for in unpacked layers. */
const maxLookUps = 1000;

const opaqueXattr = 'trusted.overlay.opaque';
const impliedMode = 0o755;

export function stackingOf(tree: LayerTree): Stacking {
  let hasWhiteouts = false;
  const implied: ByteString[] = [];
  const special: ByteString[] = [];
  const queue: { node: TreeNode; path: ByteString }[] = [{ node: tree.root, path: '' }];
  for (const { node, path } of queue) {
    hasWhiteouts ||= node.entry.xattrs?.has(opaqueXattr) ?? false;
    for (const [name, child] of node.children ?? []) {
      const { entry, children } = child;
      if (entry.type === 'char') hasWhiteouts ||= entry.devMajor === 0 && entry.devMinor === 0;
      if (children === undefined && entry.type !== 'symlink') continue;
      const childPath = path === '' ? name : `${path}/${name}`;
      if (children !== undefined) queue.push({ node: child, path: childPath });
      if (children !== undefined && entry.path === '') implied.push(childPath);
      else if (isSpecial(child)) special.push(childPath);
    }
  }
  return { hasWhiteouts, implied, special };
}

function isSpecial({ entry: { type, mode, uid, gid, xattrs } }: TreeNode): boolean {
  const isPlain = type === 'dir' && mode === impliedMode && uid === 0 && gid === 0;
  return !isPlain || [...(xattrs?.keys() ?? [])].some((name) => name !== opaqueXattr);
}

/**
 * Makes sure that overlayfs shows a layer on top of others as if it had been unpacked there.
 *
 * @param lower the content directories of the layers below it, nearest first
 * @param stackingAt the stacking of the lazy layer at one of them; undefined if it was unpacked
 * @throws FailedPrecondition if it would not
 */
export async function checkStacking(
  upper: Stacking,
  lower: readonly string[],
  stackingAt: (path: string) => Promise<Stacking | undefined>,
): Promise<void> {
  if (lower.length === 0) {
    if (!upper.hasWhiteouts) return;
    throw new Refusal('stacking', 'FailedPrecondition', 'The layer deletes files of lower layers, and there are none');
  }
  if (upper.implied.length === 0) return;
  for (const path of lower) {
    const stacking = await stackingAt(path);
    const found = stacking === undefined ? await findSpecial(upper.implied, path) : common(upper.implied, stacking);
    if (found === undefined) continue;
    const name = Buffer.from(found, 'latin1').toString('utf8');
    throw new Refusal(
      'stacking',
      'FailedPrecondition',
      `The layer has files in "${name}" but no entry for it, and a lower layer has one that is not a plain directory: only unpacking keeps that`,
    );
  }
}

function common(implied: readonly ByteString[], { special }: Stacking): ByteString | undefined {
  const specials = new Set(special);
  return implied.find((path) => specials.has(path));
}

/** The first of the implied directories that is not plain in an unpacked layer. */
async function findSpecial(implied: readonly ByteString[], root: string): Promise<ByteString | undefined> {
  if (implied.length > maxLookUps) return implied[0];
  for (const path of implied) {
    try {
      const { mode, uid, gid } = await lstat(Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]));
      if (mode !== (directoryType | impliedMode) || uid !== 0 || gid !== 0) return path;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ENOTDIR') throw error;
    }
  }
  return undefined;
}

const directoryType = 0o040000;
