import { setTimeout as delay } from 'node:timers/promises';
import type { WriteStream } from 'node:tty';
import type { LayerStatus } from '../layers/layer-status.ts';
import type { DaemonStatus } from '../status/status.ts';
import { bar, printable, shorten, sizeText, table } from './format.ts';
import type { Environment } from './environment.ts';
import { write } from './output.ts';
import { Verb } from './verb.ts';
import { chooseDaemon, whichDaemon } from './which-daemon.ts';

const watchMs = 1000;
const barWidth = 20;

interface Options {
  address?: string;
  root?: string;
  json?: boolean;
  watch?: boolean;
}

/** `lazypull status`: what a running daemon is doing. Throws where none answers. */
export function statusCommand(environment: Environment): Verb {
  return chooseDaemon(
    new Verb('status').description(
      'Show what a running daemon is doing: its layers, how much of them is here, who waits',
    ),
  )
    .option('--watch', 'show it again every second, until ctrl-C')
    .option('--json', 'print JSON, one object a line')
    .explain('The exit code is 0 where a daemon answers and 1 where none does.', [
      'lazypull status --watch',
      "lazypull status --json | jq '.layers[].digest'",
      'lazypull status --address /run/lazypull/buildkit.sock',
    ])
    .action(async (options: Options) => {
      const { StatusClient } = await import('../status/client.ts');
      const { address } = await whichDaemon(options, environment, 'asks');
      using client = new StatusClient(address);
      let drawn = 0;
      do {
        const status = await client.status();
        if (options.json === true) await write(process.stdout, `${JSON.stringify({ address, ...status })}\n`);
        else drawn = await draw(process.stdout, statusText(status, address, Date.now()), drawn);
        if (options.watch === true) await delay(watchMs);
      } while (options.watch === true);
    });
}

/** Writes a text, on a terminal in the place of the last one of `before` lines. @returns how many lines it has */
async function draw(stream: WriteStream, text: string, before: number): Promise<number> {
  if (!stream.isTTY) {
    await write(stream, text);
    return 0;
  }
  const width = stream.columns || 80;
  const lines = text
    .split('\n')
    .slice(0, Math.max(1, (stream.rows || 24) - 1))
    .map((line) => line.slice(0, width - 1));
  await write(stream, `${before > 0 ? `\x1b[${before}A\x1b[J` : ''}${lines.join('\n')}\n`);
  return lines.length;
}

/** A status for people, of the daemon at the socket `address`. `nowMs` is the time in milliseconds since 1970. */
export function statusText(
  { layers, clients, cache, mirror, version, startedMs }: DaemonStatus,
  address: string,
  nowMs: number,
): string {
  const kept = `${sizeText(cache.bytes)} on disk in ${cache.layers} ${cache.layers === 1 ? 'layer' : 'layers'}`;
  const first = `lazypull ${version} at ${printable(address)}, up ${duration(nowMs - startedMs)}, ${layers.length} mounted, ${kept}\n`;
  const text = first + clientsText(clients) + mirrorText(mirror);
  if (layers.length === 0) return text;
  const isShared = clients.length > 1;
  const head = ['IMAGE', 'LAYER', 'HERE', '', 'RATE', 'WAITING', 'ERRORS', 'SINCE', ...(isShared ? ['CLIENTS'] : [])];
  const rows = layers.map((layer) => [
    layer.references[0] ?? '',
    shorten(layer.digest),
    ...here(layer),
    `${sizeText(layer.bytesPerSecond)}/s`,
    String(layer.waiting),
    String(layer.errors),
    duration(nowMs - layer.mountedMs),
    ...(isShared ? [layer.clients.join(', ')] : []),
  ]);
  return text + table([head, ...rows]);
}

/** A line for each client where there are several, and one more for each that has no socket of its own. */
function clientsText(clients: DaemonStatus['clients']): string {
  const lines = clients.flatMap(({ name, address, process, refused }) => {
    const who = process === undefined ? 'nobody yet' : `${printable(process.command)}, process ${process.pid}`;
    const what = clients.length > 1 ? [`client ${name} at ${address}: ${who}\n`] : [];
    if (refused === undefined) return what;
    return [
      ...what,
      `REFUSED at ${address}: ${printable(refused.command)}, process ${refused.pid}, because it is the socket of ${who}; give it one of its own\n`,
    ];
  });
  return lines.join('');
}

function mirrorText(mirror: DaemonStatus['mirror']): string {
  if (mirror === undefined) return '';
  const { address, blobs, bytes } = mirror;
  return `mirror at ${printable(address)}: ${sizeText(bytes)} on disk in ${blobs} ${blobs === 1 ? 'blob' : 'blobs'}\n`;
}

function here({ contentBytes, presentBytes }: LayerStatus): [string, string] {
  const part = contentBytes === 0 ? 1 : presentBytes / contentBytes;
  const text = `${Math.floor(part * 100)}% of ${sizeText(contentBytes)}`;
  return [bar(part, barWidth), text];
}

/** `3d 4h`, `4h 5m`, `5m 6s` or `6s`. */
function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ] as const;
  const first = parts.findIndex(([value]) => value > 0);
  const shown = first < 0 ? parts.slice(-1) : parts.slice(first, first + 2);
  return shown.map(([value, unit]) => `${value}${unit}`).join(' ');
}
