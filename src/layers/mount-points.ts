import { setTimeout as sleep } from 'node:timers/promises';
import { LazypullError, messageOf } from '../errors.ts';
import type { MountHelper } from '../kernel/mount-helper.ts';
import { mountShownAt } from '../kernel/mount-point.ts';
import type { Log } from '../log.ts';
import { inParallel } from '../util/in-parallel.ts';
import { noSpans, type Spans } from '../spans.ts';
import type { Layer } from './layer.ts';
import type { LayerMetrics } from './metrics.ts';

/** How many mounts are made again at a time for another connection. */
const mountsAtOnce = 8;

/** How long changes of the mount table are ignored after a layer could not be mounted: the attempt may be one. */
const afterFailureMs = 2_000;

interface Mounted {
  readonly layer: Layer;
  /** Whether it needs the daemon: the mounted file is not the layer's own disk file. */
  readonly isServed: boolean;
  /** The mount, as `mountShownAt` names it; undefined if it is useless. */
  readonly id: string | undefined;
}

export interface MountPointsOptions {
  readonly helper: MountHelper;
  /** Whether files can be read past the page cache: the kernel can do that only for EROFS on a block device. */
  readonly directIo: boolean;
  /** Resolves if the FUSE file system is served, or rejects with the reason why it is not. */
  readonly served: () => Promise<void>;
  readonly metrics: LayerMetrics;
  readonly log: Log;
  readonly spans?: Spans | undefined;
}

/**
 * The mounts that we have made. The kernel is asked for the present ones: root can unmount one, or mount something else
 * over it. That is mended as soon as it happens, because clients remember for long what they were told to mount. It is
 * also checked whenever a client asks. Each mount point has one operation at a time.
 */
export class MountPoints {
  readonly #options: MountPointsOptions;
  readonly #mounted = new Map<string, Mounted>();
  readonly #turns = new Map<string, Promise<void>>();
  /** The repair because of a change of the mount table, and whether the table has changed again since. */
  #looking: Promise<boolean> | undefined;
  #isChanged = false;
  #isLeft = false;

  constructor(options: MountPointsOptions) {
    this.#options = options;
    options.helper.onMountsChanged(() => void this.#lookAtAll());
  }

  /** From now on what others unmount stays unmounted. */
  leave(): void {
    this.#isLeft = true;
  }

  /** Mounts a layer, as `MountHelper.fill`. */
  async fill(mountpoint: string, layer: Layer): Promise<void> {
    const { spans = noSpans } = this.#options;
    await spans.within('mount', {}, () => this.#inTurn(mountpoint, () => this.#fill(mountpoint, layer)));
  }

  /** Treats the existing mount, which must be of the layer, as if `fill` had made it. */
  adopt(mountpoint: string, layer: Layer, source: string): void {
    this.#mounted.set(mountpoint, { layer, isServed: layer.isServedAs(source), id: mountShownAt(mountpoint) });
  }

  /**
   * Mounts a layer in place of its mount by an old version, which is on the path of the tree itself. At every moment
   * there is a tree. If that fails, the old mount stays.
   */
  async cover(mountpoint: string, layer: Layer, source: string): Promise<void> {
    await this.#inTurn(mountpoint, async () => {
      const { imagePath } = layer;
      try {
        await this.#options.helper.cover(layer.fileSystem.type, imagePath, mountpoint);
        this.adopt(mountpoint, layer, imagePath);
      } catch (error) {
        this.#options.log.warn({ mountpoint, error: messageOf(error) }, 'cannot replace the mount of an older version');
        this.adopt(mountpoint, layer, source);
      }
    });
  }

  /**
   * Mounts a layer again unless it is still mounted. Rejects with `Unavailable` if none was mounted, or if it cannot
   * be. Takes some microseconds if all is well.
   */
  async check(mountpoint: string): Promise<void> {
    await this.#options.served();
    if (this.#isRight(mountpoint)) return;
    await this.#inTurn(mountpoint, async () => {
      if (!this.#isRight(mountpoint)) await this.#mend(mountpoint);
    });
  }

  /**
   * Runs `action`, which unmounts what is there. Nothing should be mounted there from now on.
   *
   * @returns what `action` resolves to, and whether the mount needed the daemon
   */
  async clear<T>(mountpoint: string, action: () => Promise<T>): Promise<{ result: T; wasServed: boolean }> {
    return this.#inTurn(mountpoint, async () => {
      const wasServed = this.#mounted.get(mountpoint)?.isServed ?? false;
      this.#mounted.delete(mountpoint);
      return { result: await action(), wasServed };
    });
  }

  /** Mounts everything again that the previous connection served. Failures are logged, and `check` tries again. */
  async renew(): Promise<void> {
    const dead = [...this.#mounted].filter(([, { isServed }]) => isServed).map(([mountpoint]) => mountpoint);
    for (const mountpoint of dead) this.#mounted.set(mountpoint, { ...this.#mounted.get(mountpoint)!, id: undefined });
    await this.#mendAll(dead);
  }

  /**
   * Repairs wrong mounts. While nothing can be served, that waits: the code that serves again mounts everything, or
   * changes the mount table by that.
   */
  async #lookAtAll(): Promise<void> {
    if (this.#isLeft || this.#looking !== undefined) {
      this.#isChanged = true;
      return;
    }
    this.#isChanged = false;
    const wrong = [...this.#mounted.keys()].filter((each) => !this.#turns.has(each) && !this.#isRight(each));
    if (wrong.length === 0) return;
    this.#looking = this.#options.served().then(
      () => this.#mendAll(wrong),
      () => false,
    );
    const isMended = await this.#looking;
    if (!isMended) await sleep(afterFailureMs, undefined, { ref: false });
    this.#looking = undefined;
    if (this.#isChanged) await this.#lookAtAll();
  }

  /** @returns whether everything is right now; the rest is logged */
  async #mendAll(mountpoints: readonly string[]): Promise<boolean> {
    let isMended = true;
    await inParallel(mountpoints, mountsAtOnce, async (mountpoint) => {
      try {
        await this.#inTurn(mountpoint, async () => {
          if (this.#mounted.has(mountpoint) && !this.#isRight(mountpoint)) await this.#mend(mountpoint);
        });
      } catch (error) {
        isMended = false;
        this.#options.log.error({ mountpoint, error: messageOf(error) }, 'cannot mount a layer again');
      }
    });
    return isMended;
  }

  #isRight(mountpoint: string): boolean {
    const mounted = this.#mounted.get(mountpoint);
    if (mounted === undefined) throw new LazypullError('Unavailable', `No layer is mounted at "${mountpoint}"`);
    return mounted.id !== undefined && mountShownAt(mountpoint) === mounted.id;
  }

  async #mend(mountpoint: string): Promise<void> {
    const { layer, id } = this.#mounted.get(mountpoint)!;
    const { log, metrics } = this.#options;
    if (id !== undefined) {
      metrics.remounted.add(1);
      log.warn(
        { mountpoint, layer: layer.record.digest },
        'another program has unmounted a layer, or mounted something else there: mounting it again',
      );
    }
    await this.#fill(mountpoint, layer);
  }

  /** If the connection dies meanwhile, another one is there by the second try. */
  async #fill(mountpoint: string, layer: Layer): Promise<void> {
    const { helper, directIo, served } = this.#options;
    const { type, isOnDevice } = layer.fileSystem;
    const fill = () =>
      directIo || isOnDevice ? helper.fillThroughLoop(type, source, mountpoint) : helper.fill(type, source, mountpoint);
    await served();
    let source = layer.imagePath;
    try {
      await fill();
    } catch (error) {
      await served();
      if (layer.imagePath === source) throw error;
      source = layer.imagePath;
      await fill();
    }
    this.adopt(mountpoint, layer, source);
  }

  #inTurn<T>(mountpoint: string, action: () => Promise<T>): Promise<T> {
    const done = (this.#turns.get(mountpoint) ?? Promise.resolve()).then(action);
    const over = done.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(mountpoint, over);
    void over.then(() => {
      if (this.#turns.get(mountpoint) === over) this.#turns.delete(mountpoint);
    });
    return done;
  }
}
