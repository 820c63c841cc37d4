import type { WriteStream } from 'node:tty';
import { terminalText } from '../util/printable.ts';
import { write } from './output.ts';

const enter = '\x1b[?1049h\x1b[?25l';
const leave = '\x1b[?25h\x1b[?1049l';

/** Makes a terminal show everything between the two at once, if it knows synchronized output. */
const begin = '\x1b[?2026h\x1b[H';
const end = '\x1b[J\x1b[?2026l';

/**
 * A text that replaces everything on the terminal, and is drawn again over itself without flicker. SIGINT and SIGTERM
 * end it; ctrl-Z and a new size of the window work as usual. At the end the terminal shows again what was there before.
 */
export class FullScreen implements Disposable {
  readonly #stream: WriteStream;
  readonly #text: () => string;
  readonly #stop = new AbortController();
  readonly #listeners: readonly (readonly [NodeJS.Signals, () => void])[];
  readonly #draw = (): void => void this.draw();

  /** @param text the text to show, made again for each size of the window; no line may be wider than that */
  constructor(stream: WriteStream, text: () => string) {
    this.#stream = stream;
    this.#text = text;
    const stop = () => this.#stop.abort();
    this.#listeners = [
      ['SIGINT', stop],
      ['SIGTERM', stop],
      ['SIGTSTP', () => this.#pause()],
      ['SIGCONT', () => this.#enter()],
    ];
    for (const [signal, listener] of this.#listeners) process.on(signal, listener);
    stream.on('resize', this.#draw);
    stream.write(enter);
  }

  /** Aborts when a signal ends it. */
  get ended(): AbortSignal {
    return this.#stop.signal;
  }

  async draw(): Promise<void> {
    const lines = terminalText(this.#text())
      .trimEnd()
      .split('\n')
      .slice(0, this.#stream.rows || 24);
    const screen = `${begin}${lines.join('\x1b[K\n')}\x1b[K${end}`;
    await write(this.#stream, Buffer.from(screen));
  }

  #enter(): void {
    this.#stream.write(enter);
    void this.draw();
  }

  #pause(): void {
    this.#stream.write(leave, () => process.kill(process.pid, 'SIGSTOP'));
  }

  [Symbol.dispose](): void {
    for (const [signal, listener] of this.#listeners) process.off(signal, listener);
    this.#stream.off('resize', this.#draw);
    this.#stream.write(leave);
  }
}
