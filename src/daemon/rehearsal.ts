import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { LazyLayers } from '../layers/lazy-layers.ts';
import { type MadeUpLayer, madeUpLayer } from '../layers/made-up-layer.ts';
import type { Log } from '../log.ts';
import { RegistryClient } from '../registry/client.ts';
import { parseReference } from '../registry/reference.ts';
import { listen } from '../util/http-server.ts';

/**
 * Has the layers rehearse with a registry of their own that is on loopback for that long, so that the client of registries is part of it. Nothing goes to any other
 * place: neither mirrors nor proxies nor credentials of the configuration are used.
 *
 * @param isAwaited whether a client is there already: it would wait for the rehearsal, which is left out then
 */
export async function rehearse(layers: LazyLayers, log: Log, isAwaited: () => boolean): Promise<void> {
  await layers.warmed;
  const started = performance.now();
  if (isAwaited()) return log.debug({}, 'does not rehearse: a client is there already');
  const layer = await madeUpLayer();
  const host = '127.0.0.1';
  await using server = await listen(
    createServer((request, response) => answer(layer, request, response)),
    { host, port: 0 },
    'Cannot listen on loopback',
  );
  await using client = new RegistryClient({ environment: {} });
  const reference = parseReference(`${host}:${server.port}/rehearsal:1`);
  await layers.rehearse(layer, () => client.blob(reference, layer.digest));
  log.debug({ ms: Math.round(performance.now() - started) }, 'rehearsed');
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
