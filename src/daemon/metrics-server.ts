import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { ListenAddress } from '../config/listen-address.ts';
import type { MetricsRegistry } from '../metrics.ts';
import { type ListeningServer, listen } from '../util/http-server.ts';

/** No scraper needs more. */
const maxConnections = 32;
const maxRequestsPerConnection = 1000;
const maxHeaderBytes = 8 << 10;
/** Time limit for a request to arrive, and for an idle connection. Prometheus keeps its connections between scrapes. */
const requestMs = 5_000;
const idleMs = 90_000;
const lookMs = 10_000;

/**
 * Serves `/metrics` in the text format of Prometheus, and `/healthz`, which answers 200 while the daemon is well, and
 * 503 otherwise.
 *
 * @throws FailedPrecondition with what to do if it cannot listen at the address
 */
export async function serveMetrics(
  { host, port }: ListenAddress,
  metrics: MetricsRegistry,
  isReady: () => boolean,
): Promise<ListeningServer> {
  const server = createServer(
    {
      maxHeaderSize: maxHeaderBytes,
      requestTimeout: requestMs,
      headersTimeout: requestMs,
      keepAliveTimeout: idleMs,
      connectionsCheckingInterval: lookMs,
    },
    (request, response) => void answer(request, response, metrics, isReady),
  );
  server.timeout = idleMs;
  server.maxRequestsPerSocket = maxRequestsPerConnection;
  const problem = `Cannot serve metrics at "${host}:${port}": choose another --metrics-address`;
  return listen(server, { host, port }, problem, maxConnections);
}

async function answer(
  { method, url }: IncomingMessage,
  response: ServerResponse,
  metrics: MetricsRegistry,
  isReady: () => boolean,
): Promise<void> {
  const path = url?.split('?', 1)[0];
  if (method !== 'GET' && method !== 'HEAD') {
    send(response, 405, 'Only GET and HEAD are possible\n', { allow: 'GET, HEAD', connection: 'close' });
  } else if (path === '/metrics') {
    send(response, 200, await metrics.text(), { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
  } else if (path === '/healthz') {
    send(response, isReady() ? 200 : 503, isReady() ? 'ok\n' : 'not ready\n');
  } else {
    send(response, 404, 'There are /metrics and /healthz\n');
  }
}

function send(response: ServerResponse, status: number, body: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    ...headers,
  });
  response.end(body);
}
