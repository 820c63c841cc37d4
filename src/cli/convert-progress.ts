import type { WriteStream } from 'node:tty';
import type { LayerEvent } from '../convert/layer-converter.ts';
import type { KeptMember } from '../convert/convert.ts';
import { megabytes, shorten } from './format.ts';

const redrawMs = 100;

/** Shows what happens to the layers: one line that is drawn over on a terminal, a line for each layer that is done elsewhere. */
export class ConvertProgress implements Disposable {
  readonly #stream: WriteStream;
  readonly #layers = new Map<string, LayerEvent>();
  readonly #startedMs = performance.now();
  #drawnMs = 0;

  constructor(stream: WriteStream) {
    this.#stream = stream;
  }

  onLayer(event: LayerEvent): void {
    const before = this.#layers.get(event.digest);
    this.#layers.set(event.digest, event);
    if (this.#isFinished(event) && before?.state !== event.state) this.#line(lineOf(event));
    if (performance.now() - this.#drawnMs >= redrawMs) this.#draw();
  }

  onKept({ digest, platform, reason }: KeptMember): void {
    const of = platform === undefined ? '' : ` for ${platform}`;
    this.#line(`${shorten(digest)}${of} is copied as it is: ${reason}`);
  }

  /** The last line. */
  finish(text: string): void {
    const seconds = (performance.now() - this.#startedMs) / 1000;
    this.#line(`${text} in ${seconds.toFixed(1)} s`);
  }

  /** Takes the drawn line away. */
  [Symbol.dispose](): void {
    if (this.#stream.isTTY && this.#drawnMs > 0) this.#stream.write('\r\x1b[K');
  }

  #isFinished({ state }: LayerEvent): boolean {
    return state === 'done' || state === 'kept';
  }

  #line(text: string): void {
    this.#drawnMs = 0;
    this.#stream.write(this.#stream.isTTY ? `\r\x1b[K${text}\n` : `${text}\n`);
  }

  #draw(): void {
    if (!this.#stream.isTTY) return;
    this.#drawnMs = performance.now();
    const layers = [...this.#layers.values()];
    const active = layers.filter((layer) => !this.#isFinished(layer)).map(statusOf);
    const text = `${layers.length - active.length} layers done  ${active.join('  ')}`;
    this.#stream.write(`\r\x1b[K${text.slice(0, (this.#stream.columns || 80) - 1)}`);
  }
}

function statusOf({ digest, size, state, bytes }: LayerEvent): string {
  if (state === 'pushing') return `${shorten(digest)} pushing ${megabytes(bytes)}`;
  return `${shorten(digest)} ${megabytes(bytes)} of ${megabytes(size)}`;
}

function lineOf({ digest, size, state, bytes }: LayerEvent): string {
  if (state === 'kept') return `${shorten(digest)} is kept as it is: registries do not have it`;
  return `${shorten(digest)} ${megabytes(size)} -> ${megabytes(bytes)}`;
}
