import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import { type FuseConnection, openConnection } from '../fuse/connection.ts';
import { type FuseMetrics, fuseMetrics } from '../fuse/metrics.ts';
import { FuseServer, type OpenAgain } from '../fuse/fuse-server.ts';
import { MountHelper, helperRoot } from '../kernel/mount-helper.ts';
import type { Log } from '../log.ts';

/** How long after a failed attempt another connection is tried again. */
const againAfterMs = 2_000;

export interface FuseLinkOptions {
  /** Locked as long as the helper lives. */
  readonly lockPath: string;
  readonly openAgain: OpenAgain;
  /**
   * Mounts everything again that was mounted by the previous connection; called once the new one is served. Does not
   * reject.
   */
  readonly onRenewed: () => Promise<void>;
  readonly metrics: FuseMetrics | undefined;
  readonly log: Log;
}

/**
 * The FUSE file system that serves layers, and the process that mounts files of it. If its connection dies, another one
 * replaces it: the files stay the same, but everything must be mounted again.
 */
export class FuseLink {
  readonly server: FuseServer;
  /** Every call that may wait for `server` goes through it. */
  readonly helper: MountHelper;
  readonly #options: FuseLinkOptions;
  readonly #metrics: FuseMetrics;
  #connection: FuseConnection;
  #onConnection: (connection: FuseConnection) => Promise<void> = () => Promise.resolve();
  /** The making of another connection after one was lost. If it failed, it stays rejected until the next attempt. */
  #connecting: Promise<void> | undefined;
  /** Why it failed. */
  #failure: unknown;
  #renewing: Promise<void> | undefined;
  #isClosed = false;

  constructor(connection: FuseConnection, options: FuseLinkOptions) {
    const { lockPath, openAgain, metrics = fuseMetrics(), log } = options;
    this.#options = options;
    this.#metrics = metrics;
    this.#connection = connection;
    this.helper = new MountHelper(lockPath, connection.root, log);
    const lookUp = (name: string): Promise<boolean> => this.helper.exists(join(helperRoot, name));
    this.server = new FuseServer(connection, openAgain, lookUp, log, metrics);
    this.server.onDisconnect(() => void this.#reconnect());
    metrics.connected.from(() => (this.#isConnected ? 1 : 0));
    this.#lookAtRoot();
  }

  /** The connection that is served now. */
  get connection(): FuseConnection {
    return this.#connection;
  }

  /** Calls `action` with each connection that replaces a lost one, before anything is mounted on it. */
  onConnection(action: (connection: FuseConnection) => Promise<void>): void {
    this.#onConnection = action;
  }

  /** Why nothing can be read; undefined if everything can. */
  get problem(): string | undefined {
    if (this.#isConnected) return undefined;
    const why = this.#failure === undefined ? '' : `, and another one cannot be made: ${messageOf(this.#failure)}`;
    return `The FUSE connection was aborted${why}`;
  }

  /** Resolves if there is a connection, or rejects with the reason. */
  async served(): Promise<void> {
    if (!this.#isConnected) await this.#reconnect();
  }

  /** Makes no more connections, and resolves when none is being made. */
  async stop(): Promise<void> {
    this.#isClosed = true;
    await this.#connecting?.catch(() => undefined);
    await this.#renewing;
  }

  /** Ends the helper and gives the file system up. @returns false if it is still in use */
  async close(): Promise<boolean> {
    await this.stop();
    await this.helper.close(); // it has a descriptor of the file system
    return this.server.close();
  }

  get #isConnected(): boolean {
    return this.#connecting === undefined && this.server.isConnected;
  }

  #reconnect(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    if (this.#connecting !== undefined) return this.#connecting;
    if (this.#failure === undefined) {
      this.#metrics.lost.add(1);
      this.#options.log.error(
        {},
        'the FUSE connection was aborted: making another one and mounting everything again; programs that used layers get errors, so restart the containers on them',
      );
    }
    this.#connecting = this.#connect();
    this.#connecting.then(
      () => {
        this.#connecting = undefined;
        this.#failure = undefined;
        this.#renewing = this.#options.onRenewed();
      },
      (error: unknown) => {
        this.#failure = error;
        this.#options.log.error({ error: messageOf(error) }, 'cannot make another FUSE connection');
        setTimeout(() => {
          this.#connecting = undefined;
          void this.#reconnect();
        }, againAfterMs).unref();
      },
    );
    return this.#connecting;
  }

  /**
   * After this, programs that look at the descriptors of all processes, such as lsof(8), do not wait while no daemon
   * serves.
   */
  #lookAtRoot(): void {
    this.helper.lookFirst(helperRoot).catch(() => undefined); // if it fails, the first program that looks asks for it
  }

  async #connect(): Promise<void> {
    const connection = await openConnection();
    await this.server.reconnect(connection);
    this.#connection = connection;
    this.helper.renew(connection.root);
    this.#lookAtRoot();
    await this.#onConnection(connection).catch((error: unknown) => {
      this.#options.log.error({ error: messageOf(error) }, 'cannot give the new FUSE connection to the keeper');
    });
  }
}
