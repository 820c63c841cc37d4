import type { ByteString, IndexEntry } from './layer-index.ts';

/** A file of a layer, as an inode is to a file system. */
export interface TreeNode {
  /** Its attributes and data; the type is never 'hardlink'. */
  entry: IndexEntry;
  /** The number of names of a file; of a directory, 2 and one for each directory in it. */
  links: number;
  /**
   * The content of a directory; undefined for anything else. Names are not '', '.' or '..', have no '/' and no NUL, and
   * at most 255 bytes.
   */
  children: Map<ByteString, TreeNode> | undefined;
}
