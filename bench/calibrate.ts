import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import type { Image } from './images.ts';
import type { OpenLink } from './relay/relay-process.ts';
import { median } from './report/statistics.ts';
import type { MeasuredLink } from './results.ts';

const pings = 9;
const downloadMs = 1500;

/** Measures a link as a client sees it: how long a request on an open connection takes, and how fast a blob comes. */
export async function calibrate(link: OpenLink, image: Image): Promise<MeasuredLink> {
  using stack = new DisposableStack();
  const agent = stack.adopt(new Agent({ keepAlive: true, maxSockets: 1 }), (open) => open.destroy());
  const times: number[] = [];
  for (let i = 0; i <= pings; i++) {
    const started = performance.now();
    const response = await request(link, '/v2/', agent);
    for await (const _ of response);
    times.push(performance.now() - started);
  }
  const { name, roundTripMs, megabitsPerSecond } = link.shape;
  const measured = {
    name,
    roundTripMs,
    megabitsPerSecond: Number.isFinite(megabitsPerSecond) ? megabitsPerSecond : null,
    // The first one opens the connection.
    measuredRoundTripMs: median(times.slice(1)),
    measuredMegabitsPerSecond: await download(link, image, agent),
  };
  await link.take();
  return measured;
}

async function download(link: OpenLink, { name, layers }: Image, agent: Agent): Promise<number> {
  const largest = layers.toSorted((a, b) => b.size - a.size)[0];
  const response = await request(link, `/v2/${name.split(':')[0]}/blobs/${largest?.digest}`, agent);
  let first: number | undefined;
  let bytes = 0;
  let ms = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    first ??= performance.now();
    ms = performance.now() - first;
    if (ms > 0) bytes += chunk.length;
    if (ms > downloadMs) break;
  }
  return (bytes * 8) / 1000 / ms;
}

async function request(link: OpenLink, path: string, agent: Agent): Promise<IncomingMessage> {
  const [response] = (await once(get({ host: '127.0.0.1', port: link.port, path, agent }), 'response')) as [
    IncomingMessage,
  ];
  if (response.statusCode !== 200) throw new Error(`The registry answered ${response.statusCode} to GET ${path}`);
  return response;
}
