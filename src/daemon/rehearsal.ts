import { mkdir, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import { stagePath } from '../layers/dress-rehearsal.ts';
import type { LazyLayers } from '../layers/lazy-layers.ts';
import { type MadeUpLayer, madeUpLayer } from '../layers/made-up-layer.ts';
import type { Log } from '../log.ts';
import { RegistryClient } from '../registry/client.ts';
import { parseReference } from '../registry/reference.ts';
import { listen } from '../util/http-server.ts';

/**
 * Does once what the first build will have done: has calls made to a snapshotter that nobody else knows, and a layer served. Leaves nothing behind, and never
 * rejects.
 *
 * @param root of the daemon
 * @param wanted aborted when a client calls, or the daemon stops: a call takes several times as long beside a rehearsal, which ends at once then
 */
export async function rehearse(root: string, layers: LazyLayers, log: Log, wanted: AbortSignal): Promise<void> {
  const attend = (): void => layers.attend();
  wanted.addEventListener('abort', attend);
  if (wanted.aborted) attend();
  try {
    const started = performance.now();
    await rehearseAsClient(root, wanted);
    const calledMs = performance.now() - started;
    await layers.warmed;
    const warmed = performance.now();
    await rehearseLayer(layers, wanted);
    log.debug({ callsMs: Math.round(calledMs), ms: Math.round(performance.now() - warmed) }, 'rehearsed');
  } catch (error) {
    if (wanted.aborted) log.debug({}, 'ends the rehearsal early');
    else log.debug({ error: messageOf(error) }, 'cannot rehearse');
  } finally {
    wanted.removeEventListener('abort', attend);
  }
}

async function rehearseAsClient(root: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { rehearseCalls } = await import('../snapshots/rehearsal.ts'); // gRPC, which nobody waits for before the daemon serves
  const stage = stagePath(root);
  const directory = join(stage, 'client');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  try {
    await rehearseCalls(directory, () => !signal.aborted);
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

/**
 * Has the layers rehearse with a registry of their own that is on loopback for that long, so that the client of registries is part of it. Nothing goes to any other
 * place: neither mirrors nor proxies nor credentials of the configuration are used.
 */
async function rehearseLayer(layers: LazyLayers, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const layer = await madeUpLayer(signal);
  const host = '127.0.0.1';
  await using server = await listen(
    createServer((request, response) => answer(layer, request, response)),
    { host, port: 0 },
    'Cannot listen on loopback',
  );
  await using client = new RegistryClient({ environment: {} });
  const reference = parseReference(`${host}:${server.port}/rehearsal:1`);
  await layers.rehearse(layer, () => client.blob(reference, layer.digest), signal);
}

/** Answers a request for one range of the blob. */
function answer({ bytes }: MadeUpLayer, { headers }: IncomingMessage, response: ServerResponse): void {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(headers.range ?? '') ?? [];
  const start = first ? Number(first) : Math.max(0, bytes.length - Number(last));
  const end = first && last ? Number(last) + 1 : bytes.length;
  const content = bytes.subarray(start, end);
  response.writeHead(206, {
    'content-length': content.length,
    'content-range': `bytes ${start}-${start + content.length - 1}/${bytes.length}`,
  });
  response.end(content);
}
