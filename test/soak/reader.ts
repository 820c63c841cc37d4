import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Random } from '../fuzz/random.ts';
import { tryRun } from '../support/program.ts';
import { SnapshotsClient } from '../support/snapshots-client.ts';
import { WrongBytes } from './excuse.ts';
import type { App, World } from './world.ts';

const maxReadBytes = 64 * 1024;

/**
 * The client of the daemon that this process is: it mounts images, reads them with the right bytes at hand, and lets
 * them go again.
 */
export class Reader {
  readonly #world: World;
  /** How the snapshots of an image start that is prepared, or was to be. */
  readonly #names = new Map<App, string>();
  /** The uppermost snapshot of an image that is prepared as a whole. */
  readonly #prepared = new Map<App, string>();
  /** Where images are mounted. */
  readonly #mounted = new Map<App, string>();
  /** The directories of snapshots that were made to be mounted, and may still be there. */
  readonly #views = new Map<App, Set<string>>();
  #count = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /** Reads files of an image at random places, `reads` times, and has it mounted for that. @returns what it did */
  async read(app: App, random: Random, reads: number): Promise<string> {
    const root = await this.#mount(app);
    const paths = [...app.files.keys()];
    for (let i = 0; i < reads; i++) {
      const path = random.pick(paths);
      await check(root, path, app.files.get(path)!, random.below(app.files.get(path)!.length + 1));
    }
    return `${reads} reads of ${app.name}`;
  }

  /** Reads all of an image. */
  async readAll(app: App): Promise<void> {
    const root = await this.#mount(app);
    for (const [path, content] of app.files) {
      for (let at = 0; at < content.length; at += maxReadBytes) await check(root, path, content, at);
    }
  }

  /** Unmounts an image and removes its snapshots, if it has any. */
  async release(app: App): Promise<void> {
    await this.#unmount(app);
    const name = this.#names.get(app);
    if (name === undefined) return;
    this.#prepared.delete(app);
    using client = new SnapshotsClient(this.#world.readerSocket);
    for (let layer = app.layers.length - 1; layer >= 0; layer--) await ifThere(client.remove(`${name}-${layer}`));
    this.#names.delete(app);
  }

  /** Unmounts everything, without asking the daemon: after its end what is mounted is of no use. */
  async forgetMounts(): Promise<void> {
    for (const app of this.#views.keys()) await this.#unmount(app);
  }

  async #mount(app: App): Promise<string> {
    const mounted = this.#mounted.get(app);
    if (mounted !== undefined) return mounted;
    using client = new SnapshotsClient(this.#world.readerSocket);
    let top = this.#prepared.get(app);
    if (top === undefined) {
      // Known before it is there: whatever becomes of the calls, it is removed in the end.
      const name = this.#names.get(app) ?? `${app.name}-${this.#count++}`;
      this.#names.set(app, name);
      top = await client.prepareImage(name, app.reference, app.layers);
      this.#prepared.set(app, top);
    }
    const directory = join(this.#world.workspace.path, 'mnt', `${app.name}-${this.#count++}`);
    await mkdir(directory, { recursive: true });
    this.#noteView(app, directory);
    try {
      await client.mount(top, directory);
      this.#noteView(app, directory); // another lane may have taken it away before it was mounted
      this.#mounted.set(app, directory);
    } catch (error) {
      await this.#unmount(app).catch(() => undefined);
      throw error;
    }
    return directory;
  }

  #noteView(app: App, directory: string): void {
    this.#views.set(app, (this.#views.get(app) ?? new Set()).add(directory));
  }

  /** Takes what it mounted away; the snapshot of the mount stays known until it is removed. */
  async #unmount(app: App): Promise<void> {
    this.#mounted.delete(app);
    using client = new SnapshotsClient(this.#world.readerSocket);
    for (const directory of this.#views.get(app) ?? []) {
      await tryRun('umount', ['--lazy', directory]);
      await ifThere(client.remove(`mounted-${directory}`));
      this.#views.get(app)?.delete(directory);
      await rm(directory, { recursive: true, force: true }).catch(() => undefined); // another lane mounts it just now
    }
  }
}

/** Waits for a removal, and does not mind that there was nothing. */
async function ifThere(removing: Promise<void>): Promise<void> {
  try {
    await removing;
  } catch (error) {
    if (!/not found/i.test(String(error))) throw error;
  }
}

/**
 * If a later part of it fails, read(2) first gives what is before that: so it goes on until it has all, the end or
 * an error.
 */
async function check(root: string, path: string, content: Buffer, at: number): Promise<void> {
  await using file = await open(join(root, path));
  const expected = content.subarray(at, at + maxReadBytes);
  const buffer = Buffer.alloc(maxReadBytes);
  for (let got = 0; ; ) {
    const { bytesRead } = await file.read(buffer, got, maxReadBytes - got, at + got);
    const isRight = buffer.subarray(got, got + bytesRead).equals(expected.subarray(got, got + bytesRead));
    got += bytesRead;
    if (isRight && got === expected.length) return;
    if (!isRight || bytesRead === 0) {
      throw new WrongBytes(`${join(root, path)} has other bytes from ${at} on (${got} of ${expected.length})`);
    }
  }
}
