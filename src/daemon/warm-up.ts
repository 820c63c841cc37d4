import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { messageOf } from '../errors.ts';
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
 */
export async function warmUp(layers: Layers, log: Log, wanted: AbortSignal): Promise<void> {
  const attend = (): void => layers.attend();
  wanted.addEventListener('abort', attend);
  if (wanted.aborted) attend();
  try {
    wanted.throwIfAborted();
    await layers.warmed;
    const started = performance.now();
    await practiseLayer(layers, wanted);
    log.debug({ ms: Math.round(performance.now() - started) }, 'warmed up');
  } catch (error) {
    if (wanted.aborted) log.debug({}, 'ends the warm-up early');
    else log.debug({ error: messageOf(error) }, 'cannot warm up');
  } finally {
    wanted.removeEventListener('abort', attend);
  }
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
