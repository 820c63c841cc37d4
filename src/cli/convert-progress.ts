import type { WriteStream } from 'node:tty';
import type { LayerEvent } from '../convert/layer-converter.ts';
import type { UnconvertedMember } from '../convert/convert.ts';
import type { NotLazyLayer } from '../convert/laziness.ts';
import { printable } from '../util/printable.ts';
import { Rate } from '../util/rate.ts';
import { bar, megabytes, shorten, sizeText } from './value-text.ts';
import { LiveLines, timeText } from './live-lines.ts';

const barWidth = 10;

/** A layer that is being converted, with the progress of its present step. */
interface Active {
  readonly event: LayerEvent;
  readonly rate: Rate;
  readonly sinceMs: number;
}

/**
 * Shows the progress of the layers: a line for each that is done, and on a terminal one for each that is under way,
 * with a bar, a rate and the time left.
 */
export class ConvertProgress implements Disposable {
  readonly #active = new Map<string, Active>();
  readonly #finished = new Set<string>();
  readonly #startedMs = performance.now();
  readonly #lines: LiveLines;

  constructor(stream: WriteStream, env: NodeJS.ProcessEnv) {
    this.#lines = new LiveLines(stream, env, (columns) =>
      [...this.#active.values()].map((active) => progressLine(active.event, rateOf(active), columns)),
    );
  }

  onLayer(event: LayerEvent): void {
    const { digest, state, bytes } = event;
    if (state === 'done' || state === 'kept') {
      this.#active.delete(digest);
      if (this.#finished.has(digest)) return;
      this.#finished.add(digest);
      this.#lines.say(lineOf(event));
      return;
    }
    const before = this.#active.get(digest);
    const isSame = before?.event.state === state && bytes >= before.event.bytes;
    const rate = isSame ? before.rate : new Rate();
    rate.add(isSame ? bytes - before.event.bytes : 0);
    this.#active.set(digest, { event, rate, sinceMs: isSame ? before.sinceMs : performance.now() });
  }

  onKept({ digest, platform, reason, isLeftOut }: UnconvertedMember): void {
    const of = platform === undefined ? '' : ` for ${platform}`;
    this.#lines.say(printable(`${shorten(digest)}${of} is ${isLeftOut ? 'left out' : 'copied as it is'}: ${reason}`));
  }

  onNotLazy({ source, message, advice }: NotLazyLayer & { source: string }): void {
    this.#lines.say(printable(`${shorten(source)} cannot be lazy: ${message}; ${advice}`));
  }

  /** The last line. */
  finish(text: string): void {
    const seconds = (performance.now() - this.#startedMs) / 1000;
    this.#lines.say(printable(`${text} in ${seconds.toFixed(1)} s`));
  }

  /** Removes the lines that change. */
  [Symbol.dispose](): void {
    this.#lines[Symbol.dispose]();
  }
}

/** Bytes a second: in the first seconds the mean of all, later the mean of the last ones. */
function rateOf({ event, rate, sinceMs }: Active): number {
  const mean = event.bytes / Math.max(0.2, (performance.now() - sinceMs) / 1000);
  return performance.now() - sinceMs < warmUpMs ? mean : rate.perSecond;
}

/** How long the running estimate of a rate is too small at first. */
const warmUpMs = 6_000;

/** The progress of a layer, in `columns` if possible: `abababababab [####......] 40% of 100.0 MB 1.5 MB/s 40s left`. */
export function progressLine({ digest, state, bytes, total }: LayerEvent, perSecond: number, columns: number): string {
  const part = total === 0 ? 1 : Math.min(1, bytes / total);
  const left = timeText((total - bytes) / perSecond);
  const parts = [
    `${shorten(digest)} ${bar(part, barWidth)} ${String(Math.floor(part * 100)).padStart(3)}% of ${sizeText(total)}`,
    `${sizeText(perSecond)}/s`,
    ...(left === '' ? [] : [`${left} left`]),
    ...(state === 'pushing' ? ['pushing'] : []),
  ];
  while (parts.length > 1 && parts.join('  ').length > columns) parts.pop();
  return parts.join('  ');
}

function lineOf({ digest, size, state, bytes }: LayerEvent): string {
  if (state === 'kept') return `${shorten(digest)} is kept as it is: registries do not have it`;
  return `${shorten(digest)} ${megabytes(size)} -> ${megabytes(bytes)}`;
}
