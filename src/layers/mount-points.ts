import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LazypullError, messageOf } from '../errors.ts';
import type { MountHelper } from '../kernel/mount-helper.ts';
import { mountShownAt } from '../kernel/mount-point.ts';
import type { Log } from '../log.ts';
import { inParallel } from '../util/in-parallel.ts';
import type { Layer } from './layer.ts';
import type { LayerMetrics } from './metrics.ts';

/** Mounts that are made anew at a time when the connection is another one. */
const mountsAtOnce = 8;

/** How long changes of the mount table are not looked at after a layer could not be mounted: the attempt may be one. */
const afterFailureMs = 2_000;

interface Mounted {
  readonly layer: Layer;
  /** Whether it needs the daemon: it is not the layer's own disk file that is mounted. */
  readonly isServed: boolean;
  /** Which mount it is, as `mountShownAt` tells; undefined for one that is of no use any more. */
  readonly id: string | undefined;
}

export interface MountPointsOptions {
  readonly helper: MountHelper;
  /** Whether files can be read past the page cache: the kernel can that of an EROFS on a block device only. */
  readonly directIo: boolean;
  /** Resolves when the FUSE file system is served, or rejects with the reason why it is not. */
  readonly served: () => Promise<void>;
  readonly metrics: LayerMetrics;
  readonly log: Log;
}

/**
 * What we have mounted where. What is there now is asked of the kernel: anybody who is root can unmount it, or mount something else there. That is mended as soon as it happens, because
 * clients remember for long what they were told to mount; and it is looked for whenever a client asks. Each mount point is worked on by one at a time.
 */
export class MountPoints {
  readonly #options: MountPointsOptions;
  readonly #mounted = new Map<string, Mounted>();
  readonly #turns = new Map<string, Promise<void>>();
  /** What is being mended because the mount table has changed, and whether it has changed once more since. */
  #looking: Promise<boolean> | undefined;
  #isChanged = false;
  #isLeft = false;

  constructor(options: MountPointsOptions) {
    this.#options = options;
    options.helper.onMountsChanged(() => void this.#lookAtAll());
  }

  /** From now on what somebody unmounts stays unmounted. */
  leave(): void {
    this.#isLeft = true;
  }

  /** Mounts a layer, as `MountHelper.fill` does. */
  async fill(mountpoint: string, layer: Layer): Promise<void> {
    await this.#inTurn(mountpoint, () => this.#fill(mountpoint, layer));
  }

  /** Takes what is mounted there, which is the layer, for what `fill` has mounted. */
  adopt(mountpoint: string, layer: Layer, source: string): void {
    this.#mounted.set(mountpoint, { layer, isServed: layer.isServedAs(source), id: mountShownAt(mountpoint) });
  }

  /** Mounts a layer again unless it is what is mounted there. Rejects with `Unavailable` when none was, or it cannot be mounted. Takes some microseconds where all is well. */
  async check(mountpoint: string): Promise<void> {
    await this.#options.served();
    if (this.#isRight(mountpoint)) return;
    await this.#inTurn(mountpoint, async () => {
      if (!this.#isRight(mountpoint)) await this.#mend(mountpoint);
    });
  }

  /**
   * Runs `action`, which takes away what is mounted there. Nothing should be mounted there from now on.
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

  /** Mounts everything again that the connection of before served. What cannot be mounted is logged, and tried again by `check`. */
  async renew(): Promise<void> {
    const dead = [...this.#mounted].filter(([, { isServed }]) => isServed).map(([mountpoint]) => mountpoint);
    for (const mountpoint of dead) this.#mounted.set(mountpoint, { ...this.#mounted.get(mountpoint)!, id: undefined });
    await this.#mendAll(dead);
  }

  /** Mends what is wrong. While nothing can be served that waits: who serves it again mounts it, or changes the mount table by that. */
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

  /** @returns whether all is right now; what is not is logged */
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
        'another program has unmounted a layer, or mounted something else there: it is mounted again',
      );
    }
    await this.#fill(mountpoint, layer);
  }

  /** A connection that dies meanwhile is another one by the second time. */
  async #fill(mountpoint: string, layer: Layer): Promise<void> {
    const { helper, directIo, served } = this.#options;
    const point = layer.record.isBare ? mountpoint : dirname(mountpoint);
    const fill = () =>
      directIo ? helper.fillThroughLoop(source, mountpoint, point) : helper.fill(source, mountpoint, point);
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
