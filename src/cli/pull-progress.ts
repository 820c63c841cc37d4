import type { WriteStream } from 'node:tty';
import { bar, shorten, sizeText } from './value-text.ts';
import { LiveLines, timeText } from './live-lines.ts';

const barWidth = 20;

/** What is known about a layer before it is there. */
interface Layer {
  readonly digest: string;
  readonly size: number;
  /** Whether its manifest names a table of contents. Else the daemon reads it by a layer index, or pulls it. */
  readonly hasToc: boolean;
}

/**
 * Shows a pull by the daemon: a line for each layer that is there, and on a terminal how many there are, their
 * rate, and the time left.
 */
export class PullProgress implements Disposable {
  readonly #layers: readonly Layer[];
  readonly #program: string;
  readonly #startedMs = performance.now();
  readonly #lines: LiveLines;
  #current: Layer | undefined;
  #done = 0;

  constructor(stream: WriteStream, env: NodeJS.ProcessEnv, layers: readonly Layer[], program: string) {
    this.#layers = layers;
    this.#program = program;
    this.#lines = new LiveLines(stream, env, () => {
      const line = pullLine(this.#done, layers.length, performance.now() - this.#startedMs);
      return this.#current === undefined ? [line] : [line, `${nameOf(this.#current)}: ${workOn(this.#current)}`];
    });
  }

  onStart(digest: string): void {
    this.#current = this.#layers.find((layer) => layer.digest === digest);
  }

  /** @param what the outcome of the layer; undefined if there is nothing to say */
  onDone(digest: string, what?: string): void {
    this.#done++;
    const layer = this.#layers.find((each) => each.digest === digest);
    if (what !== undefined) this.#lines.say(`${this.#program}: ${layer ? nameOf(layer) : shorten(digest)} ${what}`);
    this.#current = undefined;
  }

  /** The last line. */
  finish(): void {
    const bytes = this.#layers.reduce((sum, { size }) => sum + size, 0);
    const seconds = ((performance.now() - this.#startedMs) / 1000).toFixed(1);
    const what = `${this.#done} ${this.#done === 1 ? 'layer' : 'layers'} of ${sizeText(bytes)}`;
    const how = this.#layers.every(({ hasToc }) => hasToc)
      ? ', and none was downloaded'
      : `: "${this.#program} why" says which of them the daemon had to pull`;
    this.#lines.say(`${this.#program}: ${what} can be used after ${seconds} s${how}`);
  }

  [Symbol.dispose](): void {
    this.#lines[Symbol.dispose]();
  }
}

/** The progress of a pull after `ms` milliseconds: `[#####.....] 3 of 6 layers  1.5 layers/s  2s left`. */
export function pullLine(done: number, all: number, ms: number): string {
  const perSecond = done / (ms / 1000);
  const left = done === 0 ? '' : timeText((all - done) / perSecond);
  return [
    `${bar(all === 0 ? 1 : done / all, barWidth)} ${done} of ${all} ${all === 1 ? 'layer' : 'layers'}`,
    ...(done === 0 ? [] : [`${perSecond.toFixed(1)} layers/s`]),
    ...(left === '' ? [] : [`${left} left`]),
  ].join('  ');
}

function workOn({ hasToc }: Layer): string {
  return hasToc ? 'its table of contents is read' : 'its index is read, or it is pulled';
}

function nameOf({ digest, size }: Layer): string {
  return `${shorten(digest)} ${sizeText(size)}`;
}
