/**
 * Formats of layers: from the bytes of a blob, or of a file beside it, to a `LayerIndex`. Pure, except for the blob
 * that is passed in.
 *
 * Begin with `LayerFormat` in `layer-format.ts`. A new format is a folder here and a line in this file. Several formats
 * use `tar/` and `gzip/`.
 */

import type { Digest } from '../chunks/digest.ts';
import { loadModules } from '../util/load-modules.ts';
import { estargz } from './estargz/format.ts';
import { layerIndexFormat } from './layer-index-file/format.ts';
import type { Labels, LayerFormat } from './layer-format.ts';

/**
 * The formats that lazypull reads, in the order in which labels are checked. A new one is a folder beside this file and
 * a line here.
 */
const builtIn: readonly LayerFormat[] = [estargz, layerIndexFormat];

/** The formats of a program: the built-in ones, and modules whose default export is a `LayerFormat`. */
export class Formats {
  readonly all: readonly LayerFormat[];
  /** The URLs of the modules: another thread makes its own formats of them. */
  readonly modules: readonly string[];

  constructor(added: readonly LayerFormat[] = [], modules: readonly string[] = []) {
    this.all = [...added, ...builtIn];
    this.modules = modules;
  }

  /** The format of layers whose labels name no index. */
  readonly unindexed: LayerFormat = layerIndexFormat;

  /** @throws InvalidArgument if a module exports no format, or one with the name of another */
  static async load(modules: readonly string[]): Promise<Formats> {
    return new Formats(await loadModules(modules, builtIn, 'layer format'), modules);
  }

  /** The format with this name. Undefined if it belongs to another version of this program. */
  named(name: string): LayerFormat | undefined {
    return this.all.find((format) => format.name === name);
  }

  /**
   * The first format whose index the labels or annotations name, and the digest of that index; undefined if there is
   * none.
   */
  identify(labels: Labels): { readonly format: LayerFormat; readonly index: Digest } | undefined {
    for (const format of this.all) {
      const index = format.identify(labels);
      if (index !== undefined) return { format, index };
    }
    return undefined;
  }
}
