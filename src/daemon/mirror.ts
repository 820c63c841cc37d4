import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ListenAddress } from '../config/listen-address.ts';
import { codeOf } from '../errors.ts';
import type { CacheNeighbour } from '../layers/cache/cache-access.ts';
import type { Log } from '../log.ts';
import { mirrorAddressOf, mirrorFileAt } from '../mirror/address.ts';
import type { BlobStore } from '../mirror/blob-store.ts';
import type { MirrorMetrics } from '../mirror/metrics.ts';
import type { DiskBudget } from '../layers/cache/disk-budget.ts';
import type { ListeningServer } from '../util/http-server.ts';
import { isLoopback } from '../registry/hosts/addresses.ts';
import type { Blob } from '../registry/blob/blob.ts';
import type { RegistryClient } from '../registry/client.ts';
import type { MirrorStatus } from '../status/status.ts';

/** Removes the files of an earlier life's mirror from the root of a daemon that has none. */
export async function removeMirror(root: string): Promise<void> {
  await rm(mirrorFileAt(root), { force: true });
  await rm(join(root, 'blobs'), { recursive: true, force: true });
}

/** A daemon's mirror: the kept blobs, from the start, and its server, after `serve`. */
export class DaemonMirror implements AsyncDisposable {
  readonly #root: string;
  readonly #address: ListenAddress;
  readonly #store: BlobStore;
  readonly #metrics: MirrorMetrics;
  readonly #log: Log;
  #server: ListeningServer | undefined;

  /** @param budget the disk budget that kept blobs share with layers */
  static async open(
    root: string,
    address: ListenAddress,
    budget: DiskBudget,
    metrics: MirrorMetrics,
    log: Log,
  ): Promise<DaemonMirror> {
    const { BlobStore } = await import('../mirror/blob-store.ts');
    const room = {
      hasRoom: () => !budget.isFull,
      onGrowth: () => budget.grow(),
    };
    return new DaemonMirror(root, address, await BlobStore.open(root, room, metrics, log), metrics, log);
  }

  private constructor(root: string, address: ListenAddress, store: BlobStore, metrics: MirrorMetrics, log: Log) {
    this.#root = root;
    this.#address = address;
    this.#store = store;
    this.#metrics = metrics;
    this.#log = log;
  }

  /** What is kept, for the code that watches the disk space. */
  get beside(): CacheNeighbour {
    return this.#store;
  }

  /** The same blob; what is fetched of it is kept too. */
  keep(blob: Blob): Blob {
    return this.#store.keep(blob);
  }

  /** Whether a URL leads to this mirror. */
  isAt({ hostname, port, protocol }: URL): boolean {
    const given = port === '' ? (protocol === 'http:' ? 80 : 443) : Number(port);
    return given === this.#server?.port && (isLoopback(hostname) || hostname === this.#address.host);
  }

  /**
   * Starts to serve. If the address has port 0, it takes the port of the last life if that is free, else any free port.
   */
  async serve(registry: RegistryClient): Promise<void> {
    const { serveMirror } = await import('../mirror/mirror-server.ts');
    const { host, port } = this.#address;
    const options = { registry, store: this.#store, metrics: this.#metrics, log: this.#log };
    const last = port === 0 ? Number((await mirrorAddressOf(this.#root))?.split(':').at(-1) ?? 0) : port;
    try {
      this.#server = await serveMirror({ ...options, address: { host, port: last } });
    } catch (error) {
      if (port === last || codeOf(error) !== 'FailedPrecondition') throw error;
      this.#server = await serveMirror({ ...options, address: { host, port } });
    }
    await writeFile(mirrorFileAt(this.#root), `${this.#name(this.#server)}\n`);
    this.#log.info({ host, port: this.#server.port }, 'serving a mirror of all registries');
  }

  /** Undefined before it serves. */
  async status(): Promise<MirrorStatus | undefined> {
    if (this.#server === undefined) return undefined;
    const blobs = await this.#store.list();
    const bytes = blobs.reduce((sum, blob) => sum + blob.bytes, 0);
    return { address: this.#name(this.#server), blobs: blobs.length, bytes };
  }

  /** Ends the server, and writes down which ranges are here. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    await this.#store[Symbol.asyncDispose]();
  }

  #name({ port }: ListeningServer): string {
    const { host } = this.#address;
    return `${host.includes(':') ? `[${host}]` : host}:${port}`;
  }
}
