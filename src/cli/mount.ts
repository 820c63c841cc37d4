import type { WriteStream } from 'node:tty';
import { defaults } from '../config/load.ts';
import { LazypullError } from '../errors.ts';
import type { Platform } from '../images/platforms.ts';
import { resolveImage } from '../images/resolve.ts';
import { exitNow } from '../kernel/exit.ts';
import { realPath } from '../kernel/real-path.ts';
import type { LayerStatus } from '../layers/layer-status.ts';
import type { Log } from '../log.ts';
import { formatReference, type Reference } from '../registry/reference.ts';
import { jsonLine, printable, terminalText } from '../util/printable.ts';
import { bar, sizeText } from './value-text.ts';
import { type Environment, exitCodes } from './environment.ts';
import { printText, say } from './output.ts';
import { imageArgument, openRegistry, platformOption } from './registry.ts';
import { CliCommand } from './command.ts';

/** How often progress is shown: on a terminal, and as JSON. */
const drawMs = 250;
const eventMs = 1000;
const barWidth = 20;

interface Options {
  config?: string;
  platform?: Platform;
  root?: string;
  fill?: boolean;
  json?: boolean;
}

/** `lazypull mount IMAGE DIR`: mounts an image at a directory, until a signal. */
export function mountCommand({ env, name }: Environment): CliCommand {
  return new CliCommand('mount')
    .description('Mount an image of a registry read-only, without pulling it, until ctrl-C: no daemon is needed')
    .argument('<image>', 'image as Docker writes it', imageArgument)
    .argument('<directory>', 'where to mount it; made if it is missing')
    .addOption(platformOption())
    .option('--root <dir>', 'keep the layers here, for the next time (default: a temporary directory in TMPDIR)')
    .option('--fill', 'fetch all of the image in the background')
    .option('--config <file>', `config.toml with mirrors (default: ${defaults.config}, which may be missing)`)
    .option('--json', 'print events as JSON, one a line: mounted, progress, unmounted')
    .explain(
      `It needs root, and what the daemon needs. ctrl-C, SIGTERM or the end of the terminal unmounts and cleans up. A second ctrl-C ends it at once.
The exit code is 0 if the image was mounted and unmounted again, and 130 if it was interrupted before.`,
      [
        'lazypull mount registry.example/app:1 /mnt',
        'lazypull mount --json --root /var/cache/images registry.example/app:1 /mnt',
      ],
    )
    .action(async (reference: Reference, target: string, options: Options) => {
      const { hangsUp, stopSignal } = await import('../daemon/signals.ts');
      const { mountImage } = await import('../daemon/image-mount.ts');
      const log = sayingLog(name);
      const signal = stopSignal(log, () => hangsUp(env));
      await using client = await openRegistry(options.config, env, { isPatient: true });
      const image = await resolveOrStop(client, reference, options.platform, signal);
      const directory = realPath(target);
      const root = options.root === undefined ? undefined : realPath(options.root);
      const mount = await mountImage({ client, image, directory, root, fill: options.fill === true, log, signal });
      const event = (kind: string, more: object) => {
        if (options.json === true) printText(jsonLine({ event: kind, ...more }));
      };
      event('mounted', { directory, reference: formatReference(reference), digest: image.digest });
      say(name, `Mounted "${formatReference(reference)}" at "${directory}"; ctrl-C unmounts it`);
      {
        using _progress =
          options.json === true
            ? watch(
                eventMs,
                () => mount.status(),
                (layers) => event('progress', totalOf(layers)),
              )
            : watch(
                drawMs,
                () => mount.status(),
                (layers) => draw(process.stderr, progressText(totalOf(layers))),
              );
        await aborted(signal);
      }
      if (options.json !== true) draw(process.stderr, '');
      const idle = await mount.unmount();
      event('unmounted', { directory, idle });
      if (idle) return;
      say(name, `"${directory}" is still in use; its users cannot read what was not fetched`);
      exitNow(exitCodes.ok); // a thread waits until the last user is gone
    });
}

async function resolveOrStop(...args: [...Parameters<typeof resolveImage>]): ReturnType<typeof resolveImage> {
  try {
    return await resolveImage(...args);
  } catch (error) {
    if (args[3]?.aborted) throw new LazypullError('Canceled', 'Interrupted');
    throw error;
  }
}

/** The sum over all layers. */
interface Total {
  readonly layers: number;
  readonly contentBytes: number;
  readonly presentBytes: number;
  readonly fetchedBytes: number;
  readonly bytesPerSecond: number;
  readonly waiting: number;
  readonly errors: number;
}

function totalOf(layers: readonly LayerStatus[]): Total {
  const sum = (of: (layer: LayerStatus) => number) => layers.reduce((total, layer) => total + of(layer), 0);
  return {
    layers: layers.length,
    contentBytes: sum(({ contentBytes }) => contentBytes),
    presentBytes: sum(({ presentBytes }) => presentBytes),
    fetchedBytes: sum(({ fetchedBytes }) => fetchedBytes),
    bytesPerSecond: Math.round(sum(({ bytesPerSecond }) => bytesPerSecond)),
    waiting: sum(({ waiting }) => waiting),
    errors: sum(({ errors }) => errors),
  };
}

/** One line for people. */
export function progressText({ contentBytes, presentBytes, bytesPerSecond, waiting, errors }: Total): string {
  const part = contentBytes === 0 ? 1 : presentBytes / contentBytes;
  return [
    `${bar(part, barWidth)} ${sizeText(presentBytes)} of ${sizeText(contentBytes)} here`,
    `${sizeText(bytesPerSecond)}/s`,
    ...(waiting > 0 ? [`${waiting} waiting`] : []),
    ...(errors > 0 ? [`${errors} failed reads`] : []),
  ].join(', ');
}

/** Reports the layers, at intervals in which something has changed. */
function watch(
  everyMs: number,
  status: () => Promise<LayerStatus[]>,
  tell: (layers: readonly LayerStatus[]) => void,
): Disposable {
  let last = '';
  let stopped = false;
  const look = async (): Promise<void> => {
    const layers = await status();
    const seen = JSON.stringify(totalOf(layers));
    if (stopped || seen === last) return;
    last = seen;
    tell(layers);
  };
  const timer = setInterval(() => void look(), everyMs);
  return {
    [Symbol.dispose]() {
      stopped = true;
      clearInterval(timer);
    },
  };
}

/** Draws a line over the previous one. Does nothing if the stream is not a terminal. */
function draw(stream: WriteStream, text: string): void {
  if (stream.isTTY) stream.write(`\r\x1b[K${terminalText(text).slice(0, (stream.columns || 80) - 1)}`);
}

/** A log that shows warnings and errors to people. */
function sayingLog(name: string): Log {
  const tell = (fields: object, message: string) => {
    const about = ['layer', 'file', 'error'].flatMap((key) => {
      const value: unknown = (fields as Record<string, unknown>)[key];
      return typeof value === 'string' && value !== '' ? value : [];
    });
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    say(name, printable([message, ...about].join(': ')));
  };
  return { debug() {}, info() {}, warn: tell, error: tell };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
