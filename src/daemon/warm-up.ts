import { mkdir, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import { stagePath } from '../layers/warm-up/practice-layer.ts';
import type { Layers } from '../layers/layers.ts';
import { practiceLayer, practiceTar } from '../formats/practice.ts';
import { RegistryImage } from '../images/image-access.ts';
import type { Log } from '../log.ts';
import { RegistryClient } from '../registry/client.ts';
import { listen } from '../util/http-server.ts';

/** The client of the warm-up makes only a few. */
const maxConnections = 16;

/**
 * Has a layer served once, as the first build will, so that the code for it is loaded and fast. Leaves nothing behind,
 * and never rejects.
 *
 * @param wanted aborts when a client calls, or the daemon stops: a call takes several times as long beside a warm-up,
 * which then ends at once
 * @param before the warm-up begins when it settles
 */
export async function warmUp(layers: Layers, log: Log, wanted: AbortSignal, before = Promise.resolve()): Promise<void> {
  const attend = (): void => layers.attend();
  wanted.addEventListener('abort', attend);
  if (wanted.aborted) attend();
  try {
    await before;
    wanted.throwIfAborted();
    await layers.warmed;
    const started = performance.now();
    await practiseLayer(layers, wanted);
    log.debug({ ms: Math.round(performance.now() - started) }, 'warmed up');
  } catch (error) {
    sayWhy(error, log, wanted);
  } finally {
    wanted.removeEventListener('abort', attend);
  }
}

/**
 * As `warmUp`, with the calls of a build's first step, made to a snapshotter that no client knows.
 *
 * @param root of the daemon
 */
export async function warmUpAsClient(root: string, log: Log, wanted: AbortSignal): Promise<void> {
  try {
    wanted.throwIfAborted();
    const started = performance.now();
    await makeCalls(stagePath(root), wanted);
    wanted.throwIfAborted();
    log.debug({ ms: Math.round(performance.now() - started) }, 'warmed up calls');
  } catch (error) {
    sayWhy(error, log, wanted);
  }
}

async function makeCalls(stage: string, signal: AbortSignal): Promise<void> {
  // This loads gRPC, which no client waits for before the daemon serves.
  const { warmUpCalls } = await import('../snapshots/call-warm-up.ts');
  const directory = join(stage, 'client');
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await warmUpCalls(directory, () => !signal.aborted);
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

function sayWhy(error: unknown, log: Log, wanted: AbortSignal): void {
  if (wanted.aborted) log.debug({}, 'ends the warm-up early');
  else log.debug({ error: messageOf(error) }, 'cannot warm up');
}

/**
 * Warms the layers up with a registry on loopback that lives only as long, so that the registry client is part of it.
 * Nothing goes anywhere else: mirrors, proxies and credentials of the configuration are not used.
 */
async function practiseLayer(layers: Layers, signal: AbortSignal): Promise<void> {
  const layer = await practiceLayer(signal);
  const tar = await practiceTar(signal);
  const blobs = new Map([[layer.id.digest, layer.bytes]]).set(tar.digest, tar.bytes);
  const host = '127.0.0.1';
  await using server = await listen(
    createServer((request, response) => answer(blobs, request, response)),
    { host, port: 0 },
    'Cannot listen on loopback',
    maxConnections,
  );
  await using client = new RegistryClient({ environment: {} });
  const image = new RegistryImage(client, `${host}:${server.port}/warm-up:1`);
  await layers.warmUp({ layer, tar: tar.digest }, image, signal);
}

/** Answers a request for one range of a blob. */
function answer(
  blobs: ReadonlyMap<string, Buffer>,
  { url = '', headers }: IncomingMessage,
  response: ServerResponse,
): void {
  const bytes = blobs.get(url.slice(url.lastIndexOf('/') + 1)) ?? Buffer.alloc(0);
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
