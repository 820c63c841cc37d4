import { join } from 'node:path';
import { LazypullError } from '../errors.ts';
import { directoryIdentity } from '../kernel/directory-identity.ts';

/** The directory below which layers keep everything, and the places in it. */
export class RootDirectory {
  readonly path: string;
  readonly #identity: string;

  /** @param path path of an existing directory */
  constructor(path: string) {
    this.path = path;
    this.#identity = directoryIdentity(path);
  }

  /** The files of layers, at `layerPath`. */
  get layers(): string {
    return join(this.path, 'layers');
  }

  /** Layers that are planned before they are asked for. */
  get ahead(): string {
    return join(this.path, 'ahead');
  }

  /** Layers while they are pulled. */
  get pulls(): string {
    return join(this.path, 'pulls');
  }

  /** What layers did. */
  get uses(): string {
    return join(this.path, 'uses.json');
  }

  /** Where old versions mounted the FUSE file system. */
  get attached(): string {
    return join(this.path, 'fuse');
  }

  /** The lock of the process that mounts. */
  get helperLock(): string {
    return join(this.path, 'helper.lock');
  }

  /** If the root was unmounted, the path leads to another directory: nothing may be looked for, or made, there. */
  get problem(): string | undefined {
    try {
      if (directoryIdentity(this.path) === this.#identity) return undefined;
    } catch {
      // It does not exist.
    }
    return `"${this.path}" is not the directory that it was when lazypull started: mount it again, or start lazypull again`;
  }

  /** @throws Unavailable if there is a problem */
  check(): void {
    const { problem } = this;
    if (problem !== undefined) throw new LazypullError('Unavailable', problem);
  }
}
