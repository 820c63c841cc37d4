import { unlinkSync } from 'node:fs';
import { type DaemonConfig, defaults } from '../config/load.ts';
import { LazypullError, errnoOf } from '../errors.ts';
import { missingFrom, probeMachine } from '../kernel/probe.ts';
import { LazyLayers } from '../layers/lazy-layers.ts';
import type { Log } from '../log.ts';
import { RegistryClient } from '../registry/client.ts';
import { dockerCredentials } from '../registry/credentials.ts';
import { parseReference } from '../registry/reference.ts';
import { serveSnapshots } from '../snapshots/server.ts';
import { openSnapshotter } from '../snapshots/snapshotter.ts';
import { statusService } from '../status/service.ts';
import { version } from '../version.ts';
import { watchDelay } from './delay.ts';
import { daemonMetrics } from './metrics.ts';
import { notifyManager } from './notify.ts';
import { openRoot } from './root.ts';
import { clearSocket } from './socket.ts';

/** How long calls under way may take to end once the daemon stops. */
const drainMs = 5_000;

/**
 * Serves until `signal` aborts, then unmounts everything and removes the socket. A client that connects finds every layer mounted again:
 * the socket is there only when the daemon is ready.
 *
 * @param env NOTIFY_SOCKET for sd_notify(3), and what the registry client reads: credentials and proxies
 * @throws FailedPrecondition with what to do when the machine lacks something, or another process has the root or the socket
 */
export async function runDaemon(
  config: DaemonConfig,
  env: NodeJS.ProcessEnv,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const started = performance.now();
  for (const warning of config.warnings) log.warn({}, warning);
  const missing = missingFrom(await probeMachine());
  if (missing.length > 0) {
    throw new LazypullError('FailedPrecondition', `Cannot run the daemon: ${missing.join('; ')}`);
  }

  await using parts = new AsyncDisposableStack();
  parts.use(await openRoot(config.root));
  await clearSocket(config.address);
  const metrics = daemonMetrics();
  let ready = false;
  if (config.metricsAddress !== undefined) {
    const { serveMetrics } = await import('./metrics-server.ts');
    const server = parts.use(await serveMetrics(config.metricsAddress, metrics.all, () => ready));
    log.info({ host: config.metricsAddress.host, port: server.port }, 'serves metrics');
  }
  if (config.metricsAddress !== undefined || config.logLevel === 'debug' || config.logLevel === 'trace') {
    parts.use(watchDelay(log, metrics.delay));
  }
  const registry = parts.use(
    new RegistryClient({
      credentials: dockerCredentials(env),
      hosts: config.file?.resolver ?? { config_path: defaults.registryHosts },
      log,
      environment: env,
      metrics: metrics.registry,
    }),
  );
  const layers = parts.adopt(
    await LazyLayers.start({
      root: config.root,
      openBlob: (reference, digest) => registry.blob(parseReference(reference), digest),
      prefetch: config.file?.noprefetch ? undefined : { bytes: config.file?.prefetch_size ?? 0 },
      background: config.file?.no_background_fetch
        ? undefined
        : { maxBytesPerSecond: config.file?.background_fetch.max_bytes_per_second || undefined },
      log,
      metrics,
    }),
    async (started) => {
      if (!(await started.close()))
        log.warn({}, 'Layers are still in use; reading what was not fetched fails from now on');
    },
  );
  const snapshotter = parts.use(await openSnapshotter({ root: config.root, layers, log, metrics: metrics.snapshots }));
  await snapshotter.restore();
  if (signal.aborted) return;

  parts.defer(() => removeSocket(config.address));
  const status = statusService(
    {
      status: async () => ({
        version,
        startedMs: performance.timeOrigin,
        layers: await layers.status(),
        cache: await layers.cache(),
      }),
      outcomes: (digests) => snapshotter.outcomes.list(digests),
    },
    log,
  );
  parts.adopt(await serveSnapshots(config.address, snapshotter, log, metrics.snapshots, [status]), (server) =>
    server.close(drainMs),
  );
  ready = true;
  await notifyManager(env.NOTIFY_SOCKET, 'READY=1\nSTATUS=Serving', log);
  log.info(
    {
      address: config.address,
      root: config.root,
      pid: process.pid,
      version,
      startMs: Math.round(performance.now() - started),
    },
    'lazypull is ready',
  );
  await aborted(signal);
  ready = false;
  await notifyManager(env.NOTIFY_SOCKET, 'STOPPING=1\nSTATUS=Stopping', log);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** The server removes its socket when it closes; this is for the one that did not get so far. */
function removeSocket(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}
