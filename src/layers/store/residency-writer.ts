import type { FileHandle } from 'node:fs/promises';
import { messageOf } from '../../errors.ts';
import { noteLost } from '../../fuse/flat-file.ts';
import type { Log } from '../../log.ts';
import type { LayerDirectory, LayerRecord } from './layer-directory.ts';
import { residency } from '../../chunks/residency.ts';

/** How long fetched bytes may be unsynced: a power cut loses them. */
const syncIntervalMs = 2000;

export interface ResidencyWriterOptions {
  readonly record: LayerRecord;
  readonly directory: LayerDirectory;
  readonly resident: Uint8Array;
  readonly disk: FileHandle;
  /** Called after something has been recorded. */
  readonly onKept: () => void;
  readonly log: Log;
}

/**
 * Records a layer's residency: every few seconds, after its data has been synced. It takes back what the disk has lost.
 */
export class ResidencyWriter {
  readonly #options: ResidencyWriterOptions;
  #timer: NodeJS.Timeout | undefined;
  #dirty = false;
  #isClosed = false;
  #syncing: Promise<void> | undefined;
  #lossKnown: Promise<void> | undefined;
  /** Whether the disk failed at the last sync. */
  #diskFails = false;

  /** @param isKept whether the present residency has been recorded in this boot */
  constructor(options: ResidencyWriterOptions, isKept: boolean) {
    this.#options = options;
    if (!isKept) this.change();
  }

  get diskFails(): boolean {
    return this.#diskFails;
  }

  /** Whether all resident data is on the disk. */
  get isSynced(): boolean {
    return !this.#dirty && this.#syncing === undefined;
  }

  /** Resolves when lost data counts as absent. Undefined if the disk never lost any. */
  get lossKnown(): Promise<void> | undefined {
    return this.#lossKnown;
  }

  /** Notes that the residency has changed. */
  change(): void {
    this.#dirty = true;
    if (!this.#isClosed) this.#timer ??= setTimeout(() => void this.sync(), syncIntervalMs).unref();
  }

  /**
   * Notes that the kernel failed to write accepted data: what has not been synced may be lost, and the rest must be
   * verified again.
   */
  lose(): void {
    const { record, resident, log } = this.#options;
    noteLost({ resident });
    this.change();
    if (this.#lossKnown === undefined) {
      log.warn({ layer: record.digest }, 'the disk lost data of a layer that it had accepted: it is fetched again');
    }
    this.#lossKnown = this.sync();
  }

  /** Writes the residency after its data. Never rejects: what cannot be written is fetched again in the next life. */
  async sync(): Promise<void> {
    await this.#syncing; // it may have begun before the last changes
    if (!this.#dirty) return;
    this.#syncing ??= this.#sync().finally(() => {
      this.#syncing = undefined;
    });
    await this.#syncing;
  }

  /** Records the last changes. */
  async close(): Promise<void> {
    await this.sync();
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #sync(): Promise<void> {
    const { directory, resident, disk, onKept, log, record } = this.#options;
    this.#dirty = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    try {
      const seen = Uint8Array.from(resident);
      await disk.datasync().catch((error: unknown) => this.#forgetUnsynced(error));
      await directory.writeResident(record, seen);
      onKept();
      if (this.#diskFails) log.info({ layer: record.digest }, 'the disk stores data of the layer again');
      this.#diskFails = false;
    } catch (error) {
      this.change();
      if (this.#diskFails) return;
      this.#diskFails = true;
      log.warn(
        { layer: record.digest, error: messageOf(error) },
        'cannot record which parts of a layer are on the disk',
      );
    }
  }

  /**
   * Data since the last successful sync may be lost: the kernel reports that once, and then forgets those pages. So it
   * counts as absent. Rejects with the error.
   */
  async #forgetUnsynced(error: unknown): Promise<never> {
    const { directory, resident, record } = this.#options;
    const { resident: kept } = await directory.resident(record);
    for (let chunk = 0; chunk < resident.length; chunk++) {
      if (kept[chunk] === residency.absent) Atomics.store(resident, chunk, residency.absent);
    }
    throw error;
  }
}
