import type { ChunkTable } from '../chunks/chunk-table.ts';
import type { Digest } from '../chunks/digest.ts';
import type { ByteString } from '../formats/layer-index.ts';
import { emptyDirectory, type LayerTree } from '../formats/tree.ts';
import type { TreeNode } from '../formats/tree-node.ts';

/**
 * How layers of one kind are shown by the kernel: as which image a tree is laid out, and what mounts that. The image is
 * one file. Its metadata is there from the start, and its data comes when it is read, whatever the front: so a front
 * only plans, and the file is served and filled by others. Pure and synchronous; `plan` runs in worker threads, which
 * find the front by its name.
 */
export interface Front {
  /** Stands in the records of layers on the disk: it stays what it is, and no other front ever gets it. */
  readonly name: string;
  readonly fileSystem: FileSystem;
  /** The data of each file begins at a multiple of this, in bytes. */
  readonly blockBytes: number;
  /** No image has more metadata, in bytes. Where data is written before the metadata is known, it begins here. */
  readonly maxMetadataBytes: number;
  /**
   * Lays the image of a layer out. The same tree and digest give the same bytes. The root of the image holds one
   * directory, which is the tree: see `around`.
   *
   * @throws ResourceExhausted for what such an image cannot hold; FailedPrecondition for what it cannot show
   */
  plan(tree: LayerTree, options: PlanOptions): DiskPlan;
}

/** What mounts an image. */
export interface FileSystem {
  /** As the kernel calls it: the third argument of mount(2). */
  readonly type: string;
  /** Whether it is mounted from block devices only: then the image gets a loop device. */
  readonly isOnDevice: boolean;
}

export interface PlanOptions {
  /** Of the layer, `sha256:<hex>`. */
  readonly digest: Digest;
  /** Where the data of all files is, if it is on the disk already. */
  readonly written?: WrittenData | undefined;
}

/**
 * The data of a layer's files that was written before anything else of its disk: `IndexEntry.diskOffset` says where
 * each file starts.
 */
export interface WrittenData {
  /** Where the first byte may be: before it is room for the metadata. */
  readonly start: number;
  /**
   * Where each chunk of `LayerTree.chunks` lies on the disk. A file's chunks ascend; what is between them reads as
   * zeros.
   */
  readonly diskOffset: Float64Array;
}

/** An image whose data area is still empty. */
export interface DiskPlan {
  /** The first bytes of the image: all but the files' data. A whole number of 4096-byte blocks. */
  readonly metadata: Uint8Array;
  /** Length of the whole image in bytes, a multiple of 4096. */
  readonly diskBytes: number;
  readonly chunks: ChunkTable;
  /** The first chunk of each file that has data, ascending, and the file's path as its publisher wrote it. */
  readonly firstChunks: Uint32Array;
  readonly paths: readonly ByteString[];
}

/**
 * The directory of an image that is the root of the layer: the only one in the root of the image. Where the image is
 * not mounted there is no such directory.
 */
export const treeName = 'fs';

/** The root of the image of a layer with this root. */
export function around(root: TreeNode): TreeNode {
  return { ...emptyDirectory(), links: 3, children: new Map([[treeName, root]]) };
}
