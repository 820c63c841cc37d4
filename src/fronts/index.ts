/**
 * Fronts: a `LayerIndex` to what the kernel mounts. Pure: they plan bytes, and others write, serve and mount them.
 *
 * Begin with `Front` in `front.ts`. A new front is a folder here and a line in this file.
 */

import { loadModules } from '../util/load-modules.ts';
import { erofs } from './erofs/front.ts';
import type { Front } from './front.ts';

/** The fronts of lazypull. The first one shows new layers. A new one is a folder beside this file and a line here. */
const builtIn: readonly Front[] = [erofs];

/** The fronts that a program has: what is built in, and modules whose default export is a `Front`. */
export class Fronts {
  readonly all: readonly Front[];
  /** The URLs of the modules: another thread makes its own fronts of them. */
  readonly modules: readonly string[];

  constructor(added: readonly Front[] = [], modules: readonly string[] = []) {
    this.all = [...added, ...builtIn];
    this.modules = modules;
  }

  /** @throws InvalidArgument for a module that exports no front, or one whose name another has */
  static async load(modules: readonly string[]): Promise<Fronts> {
    return new Fronts(await loadModules(modules, builtIn, 'front'), modules);
  }

  /** The front of layers that are new here. */
  get chosen(): Front {
    return this.all[0]!;
  }

  /** The front with this name. Undefined for one of another version of this program. */
  named(name: string): Front | undefined {
    return this.all.find((front) => front.name === name);
  }

  /** The file systems that their images have. */
  get types(): ReadonlySet<string> {
    return new Set(this.all.map(({ fileSystem }) => fileSystem.type));
  }
}
