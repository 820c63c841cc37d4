import type { WriteStream } from 'node:tty';
import { terminalText } from '../util/printable.ts';
import { displayWidth } from './screen.ts';

/** People cannot read it if it changes more often. */
const redrawMs = 100;

/**
 * Permanent lines, and on a terminal lines of progress below them, which are drawn over themselves. If the stream is
 * not a terminal, there are no lines of progress.
 */
export class LiveLines implements Disposable {
  readonly #stream: WriteStream;
  readonly #lines: (columns: number) => readonly string[];
  readonly #timer: NodeJS.Timeout | undefined;
  #drawn = 0;

  /** @param lines the lines to show now; those that are wider than `columns` are cut */
  constructor(stream: WriteStream, env: NodeJS.ProcessEnv, lines: (columns: number) => readonly string[]) {
    this.#stream = stream;
    this.#lines = lines;
    if (stream.isTTY && env.TERM !== 'dumb') this.#timer = setInterval(() => this.#draw(), redrawMs).unref();
  }

  /** Writes a permanent line, above those that change. */
  say(text: string): void {
    this.#stream.write(`${this.#back()}${terminalText(text)}\n`);
  }

  /** Removes the lines that change. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    const back = this.#back();
    if (back !== '') this.#stream.write(back);
  }

  #draw(): void {
    const columns = (this.#stream.columns || 80) - 1;
    const lines = this.#lines(columns).slice(0, Math.max(1, (this.#stream.rows || 24) - 1));
    const shown = lines.map((line) => cut(terminalText(line), columns));
    this.#stream.write(`${this.#back()}${shown.map((line) => `${line}\n`).join('')}`);
    this.#drawn = shown.length;
  }

  /** The escape sequences that remove the lines that were drawn last. */
  #back(): string {
    const back = this.#drawn === 0 ? '' : `\x1b[${this.#drawn}A\x1b[J`;
    this.#drawn = 0;
    return back;
  }
}

function cut(line: string, columns: number): string {
  let shown = '';
  for (const character of line) {
    if (displayWidth(shown + character) > columns) break;
    shown += character;
  }
  return shown;
}

/** `4s`, `3m 4s` or `2h 3m`; '' if it is not known. */
export function timeText(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds > maxSeconds) return '';
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`;
}

/** A longer time would tell nothing. */
const maxSeconds = 99 * 3600;
