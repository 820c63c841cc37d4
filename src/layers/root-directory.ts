import { join } from 'node:path';
import { LazypullError } from '../errors.ts';
import { directoryIdentity } from '../kernel/directory-identity.ts';

/** The directory below which layers keep everything, and where in it what is. */
export class RootDirectory {
  readonly path: string;
  readonly #identity: string;

  /** @param path of a directory that is there */
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

  /** Where versions mounted the FUSE file system that did so in a directory. */
  get attached(): string {
    return join(this.path, 'fuse');
  }

  /** The lock of the process that mounts. */
  get helperLock(): string {
    return join(this.path, 'helper.lock');
  }

  /** What is at the path is another directory when somebody has unmounted it: nothing may be looked for, or made, there. */
  get problem(): string | undefined {
    try {
      if (directoryIdentity(this.path) === this.#identity) return undefined;
    } catch {
      // There is none.
    }
    return `"${this.path}" is not the directory that it was when lazypull started: mount it again, or start lazypull again`;
  }

  /** @throws Unavailable if there is a problem */
  check(): void {
    const { problem } = this;
    if (problem !== undefined) throw new LazypullError('Unavailable', problem);
  }
}
