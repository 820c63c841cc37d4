/**
 * The daemon: makes the parts of all other rooms, in order, and ends them in the reverse order. It composes; rules live
 * in the rooms.
 *
 * Begin with `runDaemon`. `process.ts` is the process around it, `keeper.ts` what outlives it, `socket.ts` and
 * `client-sockets.ts` how clients reach it, `stop.ts` how a command ends it.
 */

import { type DaemonConfig, defaults } from '../config/load.ts';
import { type FuseConnection, type HeldConnection, resendRequests } from '../fuse/connection.ts';
import type { Labels } from '../formats/layer-format.ts';
import { RegistryImage } from '../images/image-access.ts';
import type { LayerIndexes } from '../indexes/layer-indexes.ts';
import { defaultIndexConfig, openLayerIndexes } from '../indexes/open-layer-indexes.ts';
import { checkMachineFor } from '../kernel/probe.ts';
import { type CacheLimits, defaultCacheLimits } from '../layers/cache/cache-limits.ts';
import { DiskBudget } from '../layers/cache/disk-budget.ts';
import { Layers } from '../layers/layers.ts';
import { pullAll, type UnindexedPolicy } from '../layers/resolve/unindexed.ts';
import type { Log } from '../log.ts';
import { RegistryClient } from '../registry/client.ts';
import { credentialSources } from '../registry/auth/credentials/index.ts';
import type { Xino } from '../snapshots/mounts.ts';
import type { SnapshotsServer } from '../snapshots/server.ts';
import type { StatusSource } from '../status/status.ts';
import { parseAmount } from '../util/amount.ts';
import { version } from '../version.ts';
import { ClientSockets } from './client-sockets.ts';
import { Clients } from './clients.ts';
import { watchDelay } from './event-loop-lag.ts';
import { Keeper } from './keeper.ts';
import { type DaemonMetrics, daemonMetrics } from './metrics.ts';
import { DaemonMirror, removeMirror } from './mirror.ts';
import { feedWatchdog, notifyManager } from './notify.ts';
import { warmUp } from './warm-up.ts';
import { claimResources } from './resources.ts';
import type { Spans } from '../spans.ts';
import { openSpans } from './tracing.ts';
import { checkRootDisk, checkRootPath } from './root-disk.ts';
import { openRoot } from '../state/root.ts';
import { handoverSignal } from './signals.ts';

/** How long calls under way may take to end once the daemon stops. */
const drainMs = 5_000;

/** The same for a handover: meanwhile everything can be read, and new calls wait. */
const handoverDrainMs = 15_000;

/**
 * Serves until `signal` aborts, then unmounts everything and removes the sockets. If the reason is the signal to hand
 * over, it leaves everything to the next process instead. A client that connects finds every layer mounted again: calls
 * wait until the daemon is ready.
 *
 * @param env NOTIFY_SOCKET and LISTEN_FDS of the service manager, and what the registry client reads: credentials and
 * proxies
 * @throws FailedPrecondition with what to do if the machine lacks something, or another process has the root or the
 * socket
 */
export async function runDaemon(
  config: DaemonConfig,
  env: NodeJS.ProcessEnv,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const started = performance.now();
  for (const warning of config.warnings) log.warn({}, warning);
  const { memoryBytes } = claimResources(log);
  await checkMachineFor('run the daemon');

  await using parts = new AsyncDisposableStack();
  checkRootPath(config.root);
  const root = parts.use(await openRoot(config.root, { takeover: config.takeover, suits: checkRootDisk, signal }));
  const keeper = await Keeper.open(config.root, log);
  const sockets = await ClientSockets.claim(config.clients, env, keeper.kept?.sockets ?? []);
  const metrics = daemonMetrics();
  if (config.metricsAddress !== undefined || config.logLevel === 'debug' || config.logLevel === 'trace') {
    parts.use(watchDelay(log, metrics.delay));
  }
  const spans = parts.use(await openSpans(env, log));
  const budget = new DiskBudget();
  const mirror =
    config.mirrorAddress &&
    parts.use(await DaemonMirror.open(config.root, config.mirrorAddress, budget, metrics.mirror, log));
  const registry = parts.use(
    new RegistryClient({
      credentials: credentialSources(env),
      hosts: config.file?.resolver ?? { config_path: defaults.registryHosts },
      log,
      environment: env,
      metrics: metrics.registry,
      isOwn: (origin) => mirror?.isAt(origin) ?? false,
    }),
  );
  const { fuse } = keeper.kept ?? {};
  const indexes = parts.use(
    await openLayerIndexes(config.root, config.file?.index ?? defaultIndexConfig, registry, log, metrics.indexes),
  );
  const layers = parts.adopt(
    await startLayers(config, registry, mirror, budget, indexes, fuse, memoryBytes, log, metrics, spans),
    async (started) => {
      if (!(await started.close()))
        log.warn({}, 'Layers are still in use: from now on, reads of data that was not fetched fail');
    },
  );
  parts.defer(() => keeper.end()); // not before: a start that fails takes nothing from a daemon that serves
  const { connection } = layers;
  const isWell = () => layers.problem === undefined;
  try {
    await root.alone;
    if (layers.connection.isInherited) resendRequests(layers.connection);
    void indexes.warmUp(); // now: an image that comes as soon as we serve waits for a repository that is down
    if (mirror === undefined) await removeMirror(config.root);
    let ready = false;
    if (config.metricsAddress !== undefined) {
      const { serveMetrics } = await import('./metrics-server.ts');
      const server = parts.use(await serveMetrics(config.metricsAddress, metrics.all, () => ready && isWell()));
      log.info({ host: config.metricsAddress.host, port: server.port }, 'serving metrics');
    }
    await mirror?.serve(registry);
    const xino = xinoOf(config.file);
    const clients = parts.use(
      await Clients.open(config.root, config.clients, layers, log, metrics.snapshots, xino, spans),
    );
    await clients.restore();
    layers.cache.start(); // every layer that a snapshot names is known now
    if (signal.aborted && signal.reason !== handoverSignal) return;

    // Loaded now, so that no reader of a layer waits for it; and before the socket exists, because clients wait only a
    // second for an answer.
    const { serveSnapshots } = await import('../snapshots/server.ts');
    const { statusService } = await import('../status/status-service.ts');
    const { cacheService } = await import('../status/cache-service.ts');
    parts.defer(() => sockets.remove());
    await sockets.open();
    const keep = ({ name, fd, root, wasAttached, answerWithinMs = 0 }: FuseConnection) =>
      keeper.keep({ fuse: { name, fd, root, wasAttached, answerWithinMs }, sockets: sockets.own });
    await keep(layers.connection);
    layers.onConnection(keep);
    await layers.leaveDirectory();
    const more = [
      statusService(statusOf(layers, clients, mirror, keeper), log),
      cacheService(config.root, layers.cache, log),
    ];
    const servers = parts.adopt<SnapshotsServer[]>([], (each) => closeAll(each, drainMs));
    for (const { config: client, snapshotter, process: user } of clients.all) {
      const fd = sockets.descriptor(client);
      servers.push(await serveSnapshots(fd, snapshotter, log, metrics.snapshots, more, user, isWell));
    }
    ready = true;
    await notifyManager(env.NOTIFY_SOCKET, 'READY=1\nSTATUS=Serving', log);
    using _watchdog = feedWatchdog(env, log);
    log.info(
      {
        address: config.clients[0]!.address,
        clients: Object.fromEntries(config.clients.map(({ name, address }) => [name, address])),
        root: config.root,
        pid: process.pid,
        version,
        inherited: connection.isInherited,
        startMs: Math.round(performance.now() - started),
      },
      'lazypull is ready',
    );
    const wanted = AbortSignal.any([signal, ...clients.all.map(({ process: user }) => user.called)]);
    const warmingUp = warmUp(layers, log, wanted);
    await aborted(signal);
    ready = false;
    await warmingUp;
    await notifyManager(env.NOTIFY_SOCKET, 'STOPPING=1\nSTATUS=Stopping', log);
    if (signal.reason !== handoverSignal) return;
    if (!keeper.isRunning) {
      log.warn({}, 'Cannot hand over, because there is no keeper: unmounting everything');
      return;
    }
    await closeAll(servers, handoverDrainMs);
    await clients.leave(); // so that nothing is unmounted beside the next daemon
    await layers.leave();
    await mirror?.[Symbol.asyncDispose]();
    parts.move();
  } catch (error) {
    // Readers and callers wait for a process that can go on, and get no errors from this one.
    if (connection.isInherited && !signal.aborted) parts.move();
    throw error;
  }
}

function startLayers(
  { root, file }: DaemonConfig,
  registry: RegistryClient,
  mirror: DaemonMirror | undefined,
  budget: DiskBudget,
  indexes: LayerIndexes,
  kept: HeldConnection | undefined,
  memoryBytes: number | undefined,
  log: Log,
  metrics: DaemonMetrics,
  spans: Spans,
): Promise<Layers> {
  const options = {
    root,
    images: (reference: string, labels: Labels) =>
      new RegistryImage(registry.withLabels(labels), reference, (blob) => mirror?.keep(blob) ?? blob),
    prefetch: file?.noprefetch ? undefined : { bytes: file?.prefetch_size ?? 0 },
    background: file?.no_background_fetch
      ? undefined
      : { maxBytesPerSecond: file?.background_fetch.max_bytes_per_second || undefined },
    directIo: file?.snapshotter.direct_io ?? false,
    limits: cacheLimits(file),
    budget,
    beside: mirror?.beside,
    unindexed: unindexedPolicy(file),
    indexes,
    memoryBytes,
    log,
    metrics,
    spans,
  };
  return Layers.start(options, kept);
}

async function closeAll(servers: readonly SnapshotsServer[], graceMs: number): Promise<void> {
  await Promise.all(servers.map((server) => server.close(graceMs)));
}

function statusOf(layers: Layers, clients: Clients, mirror: DaemonMirror | undefined, keeper: Keeper): StatusSource {
  return {
    status: async () => ({
      version,
      startedMs: performance.timeOrigin,
      layers: await clients.layers(),
      clients: clients.status(),
      cache: await layers.cacheSize(),
      mirror: await mirror?.status(),
      problems: [
        ...(layers.problem === undefined ? [] : [layers.problem]),
        ...(keeper.isRunning ? [] : ['No keeper runs: if the daemon is killed now, readers get errors']),
      ],
    }),
    outcomes: (digests) => clients.outcomes(digests),
    uses: async () => ({ sinceMs: layers.uses.sinceMs, uses: await layers.uses.list() }),
  };
}

function cacheLimits(file: DaemonConfig['file']): CacheLimits {
  const { max_size, min_free, high_water, low_water } = file?.cache ?? {};
  return {
    max: (max_size === undefined ? undefined : parseAmount(max_size)) ?? defaultCacheLimits.max,
    minFree: (min_free === undefined ? undefined : parseAmount(min_free)) ?? defaultCacheLimits.minFree,
    highWater: high_water ?? defaultCacheLimits.highWater,
    lowWater: low_water ?? defaultCacheLimits.lowWater,
  };
}

function unindexedPolicy(file: DaemonConfig['file']): UnindexedPolicy {
  const { mode = pullAll.mode, min_size = 0, max_size } = file?.unindexed ?? {};
  const maxBytes = max_size === undefined ? pullAll.maxBytes : wholeBytes(max_size);
  return { mode, minBytes: wholeBytes(min_size), maxBytes };
}

/** A size of the schema, which is not a share of anything. */
function wholeBytes(text: string | number): number {
  const amount = parseAmount(text);
  return amount !== undefined && 'bytes' in amount ? amount.bytes : 0;
}

function xinoOf(file: DaemonConfig['file']): Xino | undefined {
  const { xino = 'on' } = file?.snapshotter ?? {};
  return xino === 'off' ? undefined : xino;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
