import { lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOfHex, hexOf, isSha256 } from '../chunks/digest.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Blob } from '../registry/blob/blob.ts';
import { type BlobLease, RecordingBlob } from './recording-blob.ts';
import { BlobFile, type Room } from './blob-file.ts';
import type { MirrorMetrics } from './metrics.ts';
import { SharedBlob } from './shared-blob.ts';
import { makeDirectory } from '../kernel/make-directory.ts';

/** How often the present ranges are recorded, and after how long without a user a file is closed. */
const sweepMs = 1_000;
const closeAfterMs = 30_000;

/** The unit of `blocks` in stat(2), in bytes. */
const blockBytes = 512;

/** Blobs that are open at a time. If there are so many, nothing is kept of others. */
const maxOpen = 512;

/** The kept part of one blob. */
export interface StoredBlob {
  /** Disk space in bytes. */
  readonly bytes: number;
  /** In milliseconds since 1970. */
  readonly lastUsedMs: number;
  /** @returns false if it is in use */
  remove(): Promise<boolean>;
}

interface Opened {
  readonly kept: BlobFile;
  readonly blob: SharedBlob;
}

interface Entry {
  readonly opened: Promise<Opened>;
  users: number;
  unusedMs: number;
}

/** The directory of a root's blobs. */
function blobsAt(root: string): string {
  return join(root, 'blobs');
}

/** What is kept below the root of a daemon that does not run. */
export async function storedBlobs(root: string): Promise<StoredBlob[]> {
  return listBlobs(blobsAt(root), async (_, path) => {
    await rm(path, { recursive: true, force: true });
    return true;
  });
}

/** The compressed bytes of blobs that this node has fetched, for whatever reason, in a directory for each. */
export class BlobStore implements AsyncDisposable {
  readonly #path: string;
  readonly #room: Room;
  readonly #metrics: MirrorMetrics;
  readonly #log: Log;
  readonly #entries = new Map<string, Entry>();
  /** Blobs that are being closed or removed: a caller that needs one again waits. */
  readonly #closing = new Map<string, Promise<unknown>>();
  readonly #stop = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #sweeping: Promise<void> = Promise.resolve();

  /** @param root the daemon's root */
  static async open(root: string, room: Room, metrics: MirrorMetrics, log: Log): Promise<BlobStore> {
    const path = blobsAt(root);
    makeDirectory(path, 0o700);
    return new BlobStore(path, room, metrics, log);
  }

  private constructor(path: string, room: Room, metrics: MirrorMetrics, log: Log) {
    this.#path = path;
    this.#room = room;
    this.#metrics = metrics;
    metrics.keptBytes.from(async () => (await this.list()).reduce((sum, { bytes }) => sum + bytes, 0));
    this.#log = log;
    this.#timer = setInterval(() => this.#sweepSoon(), sweepMs);
    this.#timer.unref();
  }

  /** Aborts when the store is closed. */
  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  /** A blob of a registry that keeps what it fetches, and does not fetch what is here. */
  keep(upstream: Blob): Blob {
    return isSha256(upstream.digest) ? new RecordingBlob(() => this.lease(upstream.digest), upstream) : upstream;
  }

  /** Opens a blob. If that fails, it returns undefined and logs one line. */
  async lease(digest: string): Promise<BlobLease | undefined> {
    while (this.#closing.has(digest)) await this.#closing.get(digest);
    if (!isSha256(digest) || this.#stop.signal.aborted) return undefined;
    let entry = this.#entries.get(digest);
    if (entry === undefined) {
      if (this.#entries.size >= maxOpen && !this.#closeUnused()) return undefined;
      entry = { opened: this.#open(digest, join(this.#path, hexOf(digest))), users: 0, unusedMs: 0 };
      this.#entries.set(digest, entry);
    }
    const { opened } = entry;
    entry.users++;
    try {
      const { blob } = await opened;
      return { blob, [Symbol.dispose]: () => void this.#unuse(digest, entry) };
    } catch (error) {
      entry.users--;
      if (this.#entries.get(digest) === entry) this.#entries.delete(digest);
      this.#log.warn({ blob: digest, error: messageOf(error) }, 'cannot keep the bytes of a blob');
      return undefined;
    }
  }

  /** All that is kept. */
  async list(): Promise<StoredBlob[]> {
    return listBlobs(this.#path, (digest, path) => this.#remove(digest, path));
  }

  /** Records everything and closes it; requests under way end. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await this.#sweeping;
    await Promise.all(this.#closing.values());
    await Promise.all([...this.#entries.keys()].map((digest) => this.#close(digest)));
  }

  async #open(digest: string, path: string): Promise<Opened> {
    const kept = await BlobFile.open(path, this.#room, this.#log);
    return { kept, blob: new SharedBlob(digest, kept, this.#stop.signal, this.#metrics, this.#log) };
  }

  /** A blob without content after its use, such as one that no registry has, leaves nothing behind. */
  async #unuse(digest: string, entry: Entry): Promise<void> {
    entry.users--;
    entry.unusedMs = performance.now();
    const { kept } = await entry.opened;
    await kept.written();
    if (entry.users === 0 && kept.isEmpty && kept.isIdle && this.#entries.get(digest) === entry)
      await this.#close(digest);
  }

  /** Starts to close an unused blob. @returns false if there is none */
  #closeUnused(): boolean {
    const [unused] = [...this.#entries]
      .filter(([, { users }]) => users === 0)
      .toSorted(([, a], [, b]) => a.unusedMs - b.unusedMs);
    if (unused !== undefined) void this.#close(unused[0]);
    return unused !== undefined;
  }

  #sweepSoon(): void {
    this.#sweeping = this.#sweeping.then(() => this.#sweep());
  }

  /** Records what is here, and closes blobs that were not used for a while. */
  async #sweep(): Promise<void> {
    for (const [digest, entry] of this.#entries) {
      const opened = await entry.opened.catch(() => undefined);
      await opened?.kept.flush();
      const isUnused = entry.users === 0 && performance.now() - entry.unusedMs > closeAfterMs;
      if (isUnused && opened?.kept.isIdle) await this.#close(digest);
    }
  }

  /** The blob is not used, or the store is being closed. */
  #close(digest: string): Promise<void> {
    const entry = this.#entries.get(digest);
    this.#entries.delete(digest);
    return this.#alone(digest, async () => {
      const opened = await entry?.opened.catch(() => undefined);
      await opened?.blob.idle();
      await opened?.kept.close();
      if (opened?.kept.isEmpty) await rm(opened.kept.path, { recursive: true, force: true });
    });
  }

  async #remove(digest: string, path: string): Promise<boolean> {
    const entry = this.#entries.get(digest);
    const opened = await entry?.opened.catch(() => undefined);
    if (this.#entries.get(digest) !== entry || this.#closing.has(digest)) return false;
    if (entry !== undefined && (entry.users > 0 || opened?.kept.isIdle === false)) return false;
    this.#entries.delete(digest);
    await this.#alone(digest, async () => {
      await opened?.kept.abandon();
      await rm(path, { recursive: true, force: true });
    });
    return true;
  }

  async #alone(digest: string, action: () => Promise<void>): Promise<void> {
    const closing = action()
      .catch((error: unknown) => {
        this.#log.warn({ blob: digest, error: messageOf(error) }, 'cannot close what is kept of a blob');
      })
      .finally(() => this.#closing.delete(digest));
    this.#closing.set(digest, closing);
    await closing;
  }
}

async function listBlobs(
  directory: string,
  remove: (digest: string, path: string) => Promise<boolean>,
): Promise<StoredBlob[]> {
  const blobs: StoredBlob[] = [];
  for (const hex of await readdir(directory).catch(() => [])) {
    const digest = digestOfHex(hex);
    const path = join(directory, hex);
    const found = isSha256(digest) ? await look(path) : undefined;
    if (found !== undefined) blobs.push({ ...found, remove: () => remove(digest, path) });
  }
  return blobs;
}

/** Undefined if it vanished meanwhile. */
async function look(path: string): Promise<{ bytes: number; lastUsedMs: number } | undefined> {
  try {
    const { blocks } = await lstat(path);
    const names = await readdir(path);
    const each = await Promise.all(names.map((name) => lstat(join(path, name)).catch(() => undefined)));
    return {
      bytes: each.reduce((sum, stats) => sum + (stats?.blocks ?? 0), blocks) * blockBytes,
      lastUsedMs: Math.max(...each.map((stats) => stats?.mtimeMs ?? 0)),
    };
  } catch {
    return undefined;
  }
}
